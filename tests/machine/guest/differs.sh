# Three CPUs, of which firmware has left VMX off on the first.
. /payload/lib.sh
insmod /lib/modules/msr.ko
read_msrs rdmsr
run show vmxd show --json
run text vmxd show
