# One CPU model: the MSRs as rdmsr and as vmxd read them, a recording, and what KVM makes of the CPU.
. /payload/lib.sh
insmod /lib/modules/msr.ko
read_msrs rdmsr
run metrics vmxd metrics
run record vmxd record "$OUT/recording"
load_kvm
