"""vmxd on a booted Linux: emulated CPUs that have VMX (Bochs) or lack it (qemu TCG), real /dev/cpu/N/msr."""
