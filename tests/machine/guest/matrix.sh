# One CPU model: the MSRs as rdmsr and as vmxd read them, and a recording.
. /payload/lib.sh
insmod /lib/modules/msr.ko
read_msrs rdmsr
run metrics vmxd metrics
run record vmxd record "$OUT/recording"
