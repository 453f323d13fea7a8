# CPUs without VMX, where RDMSR answers 0 instead of faulting.
. /payload/lib.sh
insmod /lib/modules/msr.ko
read_msrs rdmsr
run show vmxd show --json
run text vmxd show
run metrics vmxd metrics
run record vmxd record "$OUT/recording"
