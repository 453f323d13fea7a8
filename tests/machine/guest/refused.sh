# Two CPUs, of which firmware has left VMX off on the second: kvm_intel loads on the first and looks at the second.
. /payload/lib.sh
insmod /lib/modules/msr.ko
run record vmxd record "$OUT/recording"
echo default >/tmp/loads
insmod /lib/modules/irqbypass.ko
insmod /lib/modules/kvm.ko
python3 /payload/kvm_loads.py </tmp/loads
