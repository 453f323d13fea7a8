# kvm_intel with the sets of parameters of loads.txt, and a recording made before the first.
. /payload/lib.sh
insmod /lib/modules/msr.ko
run record vmxd record "$OUT/recording"
load_kvm
