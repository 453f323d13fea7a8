# Three CPUs, the last one isolated: which are read, and what happens when one goes offline and comes back.
. /payload/lib.sh
TRACE=/sys/kernel/tracing
ONLINE=/sys/devices/system/cpu/cpu2/online
insmod /lib/modules/msr.ko

# traced NAME COMMAND...: run, with $OUT/NAME.trace, in which the kernel names every MSR it reads, and on which CPU
traced() {
  echo >$TRACE/trace
  run "$@"
  grep read_msr: $TRACE/trace >"$OUT/$1.trace"
}
echo 1 >$TRACE/events/msr/read_msr/enable
traced all vmxd record /run/host
traced chosen vmxd show --json --cpus 1-2
traced isolated vmxd metrics --skip-isolated
echo 0 >$TRACE/events/msr/read_msr/enable

run race python3 /payload/race.py

vmxd serve --scan-timeout=600 --web.listen-address=127.0.0.1:1 2>"$OUT/live.log" &
live=$!
vmxd serve --scan-timeout=600 --web.listen-address=127.0.0.1:2 --root /run/host --rescan-request /run/request 2>"$OUT/recording.log" &
fetch live-before 1 'vmxd_recording_stale 0'
fetch recording-before 2 'vmxd_recording_stale 0'

exec 3</dev/cpu/2/msr
dd bs=8 count=1 <&3 >/dev/null 2>&1
echo 0 >$ONLINE
run held dd bs=8 count=1 <&3
run gone dd bs=8 count=1 if=/dev/cpu/2/msr
fetch live-offline 1 'vmx_cpus{state="online"} 2'
fetch recording-offline 2 'vmxd_recording_stale 1'
run asked ls /run/request
mknod /tmp/node c 202 2
run made dd bs=8 count=1 if=/tmp/node

# a /dev that nobody tidies, as in a container: a node without its CPU
mkdir -p /tmp/root/dev /tmp/root/sys/devices/system/cpu
mkdir /tmp/root/proc
cp /proc/cpuinfo /tmp/root/proc/cpuinfo
cp -a /dev/cpu /tmp/root/dev/cpu
mkdir /tmp/root/dev/cpu/2
mv /tmp/node /tmp/root/dev/cpu/2/msr
echo 0-2 >/tmp/root/sys/devices/system/cpu/online
run untidy vmxd show --json --root /tmp/root

run record vmxd record /run/host
fetch recording-anew 2 'vmxd_recording_stale 0'
cp -a /run/host "$OUT/recording"

echo 1 >$ONLINE
fetch live-online 1 'vmx_cpus{state="online"} 3'
fetch recording-online 2 'vmxd_recording_stale 1'
kill $live
wait $live
echo $? >"$OUT/live.rc"
