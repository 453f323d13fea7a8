# vmxd on Debian as systemd/README.md installs it: booted, looked at, killed, hot-plugged, scraped, and taken away again;
# then as a Debian package: installed, upgraded, purged.
# Runs after every boot: installs the units at the first, does all else at the second.
. /payload/lib.sh
export PATH=/usr/bin:/usr/sbin:/bin:/sbin LC_ALL=C.UTF-8 OUT=/root/out SYSTEMD_PAGER=cat SYSTEMD_COLORS=0
stty -opost -echo
echo 1 >/proc/sys/kernel/printk

# readme NAME FILE: run one block of README.md, word for word
readme() { run "$1" sh -e -c "cd /root/vmxd/systemd && . /payload/$2"; }

# until_ok SECONDS COMMAND...: run it every second until it succeeds, so long at most
until_ok() {
  left=$1
  shift
  until "$@"; do
    left=$((left - 1))
    [ "$left" -gt 0 ] || return 1
    sleep 1
  done
}

property() { systemctl show --property="$2" --value "$1"; }
metrics() { curl -sS --fail --max-time 120 http://127.0.0.1:10480/metrics; }
has_line() { metrics 2>/dev/null | grep -qxF "$1"; }
journal() { journalctl --boot --output=cat "$@"; }

if [ ! -d "$OUT" ]; then
  mkdir "$OUT"
  echo
  echo "@@ linux $(uname -r), $(systemctl --version | head -n 1)"
  readme install_units install-units
  run at_once metrics
  cat >>/etc/prometheus/prometheus.yml <<'YAML'
  - job_name: vmxd
    scrape_interval: 5s
    scrape_timeout: 5s
    static_configs:
      - targets: ['localhost:10480']
YAML
  step reboot
  systemctl reboot
  exit
fi

# as it is after boot
run running systemctl is-system-running --wait
run failed_units systemctl list-units --failed --plain --no-legend
run warnings journal --priority=warning --unit='vmxd*' --unit='modprobe@msr.service'
for unit in modprobe@msr.service vmxd-record.service vmxd.service; do
  run "times_$unit" systemctl show --property=ExecMainStartTimestampMonotonic,ExecMainExitTimestampMonotonic "$unit"
done
run metrics metrics
run cpuinfo cat /proc/cpuinfo
run files find /run/vmxd /run/vmxd-serve -printf '%p %m %U\n'
for unit in vmxd-record.service vmxd.service vmxd-textfile.service; do
  run "security_$unit" systemd-analyze security "$unit"
done

# the recorder while it runs
recorder() {
  systemctl start --no-block vmxd-record.service
  for _ in $(seq 10000); do
    pid=$(property vmxd-record.service MainPID)
    grep -qs '^vmxd$' "/proc/$pid/comm" && cat "/proc/$pid/status" && return
  done
}
run recorder recorder
while [ "$(property vmxd-record.service ActiveState)" = activating ]; do sleep 1; done # to start it now would be to wait for it
# and what can be done in its place: the CPUs have no VMX, so it has no MSR to read
mkdir -p /run/systemd/system/vmxd-record.service.d
cat >/run/systemd/system/vmxd-record.service.d/probe.conf <<'INI'
[Service]
StandardOutput=file:/root/out/probe.out
StandardError=file:/root/out/probe.err
ExecStartPre=-/bin/sh -c 'for cpu in 0 1; do head -c 8 /dev/cpu/$$cpu/msr | od -A n -t x8; done; cat /proc/net/dev'
ExecStartPre=-/bin/sh -c ': >>/dev/cpu/0/msr'
INI
systemctl daemon-reload
systemctl start vmxd-record.service
rm -r /run/systemd/system/vmxd-record.service.d
systemctl daemon-reload

# the server
server=$(property vmxd.service MainPID)
run server cat "/proc/$server/status"
run server_cgroup cat "/proc/$server/cgroup"
run server_devices nsenter --target "$server" --mount ls /dev
run server_msr nsenter --target "$server" --mount head -c 8 /dev/cpu/0/msr
run host_msr head -c 8 /dev/cpu/0/msr

# reload
run reload_before metrics
run reload systemctl reload vmxd.service
scanned_at() { grep '^vmxd_scan_timestamp_seconds '; }
scanned_again() { [ "$(metrics | scanned_at)" != "$(scanned_at <"$OUT/reload_before.out")" ]; }
until_ok 60 scanned_again
run reload_after metrics

# Prometheus
ask() { curl -sS --fail --get http://127.0.0.1:9090/api/v1/query --data-urlencode "query=$1"; }
scraped() { ask 'up{job="vmxd"}' | grep -q '"1"\]'; }
systemctl start prometheus.service
until_ok 120 scraped
run prometheus_targets curl -sS http://127.0.0.1:9090/api/v1/targets
run prometheus_up ask 'up{job="vmxd"}'
run prometheus_status ask 'vmx_status{job="vmxd"} == 1'
systemctl stop prometheus.service

# hot-plug: by udev alone, which says it at once; then by the server alone, which notices and asks
cpu1=/sys/devices/system/cpu/cpu1/online
stale='vmxd_recording_stale 0.0'
has_cpus() { [ "$(metrics | grep -cxF -e "vmx_cpus{state=\"online\"} $1" -e "$stale")" = 2 ]; }
systemctl stop vmxd-record.path
echo 0 >$cpu1
until_ok 120 has_cpus 1.0
run offline_by_udev metrics
run offline_timer journal --unit=vmxd-record.timer
systemctl start vmxd-record.path
udevadm settle
udevadm control --stop-exec-queue
echo 1 >$cpu1
until_ok 120 has_cpus 2.0
run online_by_server metrics
run online_asked journal --unit=vmxd.service --grep='asking for a new recording'
udevadm control --start-exec-queue
udevadm settle
run record_path systemctl show --property=ActiveState,SubState,Result vmxd-record.path

# what happens to a server that hangs, and to one that dies
restarted() { [ "$(property vmxd.service NRestarts)" = "$1" ] && has_line "$stale"; }
kill -STOP "$server"
until_ok 180 restarted 1
run hung metrics
run hung_journal journal --unit=vmxd.service
run hung_restarts property vmxd.service NRestarts
kill -KILL "$(property vmxd.service MainPID)"
until_ok 120 restarted 2
run killed metrics
run killed_restarts property vmxd.service NRestarts
run killed_path systemctl is-active vmxd-record.path

# socket activation
sed -i 's/^ARGS=.*/ARGS=--web.systemd-socket/' /etc/default/vmxd
readme socket socket
run socket_before systemctl is-active vmxd.service
run socket_first metrics
run socket_after systemctl is-active vmxd.service
kill -KILL "$(property vmxd.service MainPID)"
run socket_killed metrics
mkdir -p /etc/systemd/system/vmxd.service.d # as systemctl edit does, which wants a terminal
cp /payload/socket.conf /etc/systemd/system/vmxd.service.d/override.conf
systemctl daemon-reload
run socket_restart systemctl restart vmxd.service
run socket_alone metrics
run socket_network readlink /proc/1/ns/net "/proc/$(property vmxd.service MainPID)/ns/net"

# instead of a server, node_exporter
systemctl stop vmxd.socket vmxd.service
run stopped find /run/vmxd /run/vmxd-serve
run stopped_units systemctl list-units --plain --no-legend 'vmxd*'
prom=/var/lib/prometheus/node-exporter/vmx.prom
run textfile_enable systemctl enable --now vmxd-textfile.timer
until_ok 120 test -e $prom
run textfile cat $prom
run textfile_timer systemctl list-timers --no-legend vmxd-textfile.timer
systemctl start prometheus-node-exporter.service
until_ok 60 curl -s -o /dev/null http://127.0.0.1:9100/
run node_exporter curl -sS --fail http://127.0.0.1:9100/metrics

# away again
readme remove remove
run removed find / /run -xdev '(' -path /root -o -path /payload ')' -prune -o '(' -name '*vmxd*' -o -name vmx.prom ')' -print
run removed_units systemctl list-units --all --plain --no-legend 'vmxd*'

# the same as a package
answers() { metrics >/dev/null 2>&1; }
run package dpkg --install /payload/vmxd.deb
until_ok 60 answers
run package_metrics metrics
run package_active systemctl is-active vmxd.service vmxd-record.path
run package_enabled systemctl is-enabled vmxd.service vmxd.socket vmxd-textfile.timer
run package_recorded systemctl show --property=Result,FragmentPath vmxd-record.service
# an upgrade, with all that can be enabled enabled
sed -i 's/^ARGS=.*/ARGS=--web.systemd-socket/' /etc/default/vmxd
systemctl stop vmxd.service
systemctl enable --now vmxd.socket vmxd-textfile.timer
run package_before metrics
until_ok 60 test -e $prom
run package_again dpkg --install --force-confold /payload/vmxd.deb
until_ok 60 answers
run package_after metrics
run package_still systemctl is-active vmxd.service vmxd.socket vmxd-textfile.timer
run package_purge dpkg --purge vmxd
run purged find / /run -xdev '(' -path /root -o -path /payload ')' -prune -o '(' -name '*vmxd*' -o -name vmx.prom ')' -print
run purged_units systemctl list-units --all --plain --no-legend 'vmxd*'
run failed_at_end systemctl list-units --failed --plain --no-legend
run journal journalctl --boot --output=short-monotonic

step results
tar -C "$OUT" -cz . | base64
echo "@@ end"
systemctl poweroff --force
