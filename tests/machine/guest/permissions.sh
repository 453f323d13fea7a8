# Who may read MSRs: with and without the module, as root and as others, with and without the capability.
. /payload/lib.sh

# as_nobody [SETPRIV OPTION...] COMMAND...; busybox has a lesser setpriv, which its shell prefers
as_nobody() { /usr/bin/setpriv --reuid=nobody --regid=nogroup --clear-groups "$@"; }

run no-module vmxd show --json
run no-module-record vmxd record "$OUT/no-module-recording"
insmod /lib/modules/msr.ko
run root vmxd show --json
run nobody as_nobody vmxd show --json
run no-capability /usr/bin/setpriv --bounding-set=-sys_rawio --inh-caps=-sys_rawio vmxd show --json
chmod 0644 /dev/cpu/*/msr
run mode-0644 as_nobody vmxd show --json
run mode-0644-text as_nobody vmxd show
run capability as_nobody --inh-caps=+sys_rawio --ambient-caps=+sys_rawio vmxd show --json
chmod 0600 /dev/cpu/*/msr
run record vmxd record /tmp/recording
chmod -R a+rwX /tmp/recording
run keep as_nobody vmxd record /tmp/recording
