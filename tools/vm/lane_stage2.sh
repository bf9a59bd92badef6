# SPDX-License-Identifier: Apache-2.0
# Runs as process 1 of a lane guest on the host's user space. boot.py writes
# /run/lane/place (LANE_RELEASE, LANE_MODULES, LANE_CHECKOUT) and /run/lane/command.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export HOME=/root TERM=dumb LC_ALL=C.UTF-8
hostname lane
mkdir -p /dev/pts /dev/shm /dev/net
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t bpf bpf /sys/fs/bpf
mount -t tracefs tracefs /sys/kernel/tracing
mount -t debugfs debugfs /sys/kernel/debug
mount -t cgroup2 cgroup2 /sys/fs/cgroup
. /run/lane/place
ip link set lo up
# Three floods on emulated CPUs outgrow a CPU's 1,000 waiting frames, and the kernel throws
# the neighbours' away: /proc/net/softnet_stat had what the wire lacked.
echo 50000 >/proc/sys/net/core/netdev_max_backlog
exec </dev/null
for port in /sys/class/virtio-ports/*; do
	[ "$(cat "$port/name")" = lane.output ] && output=/dev/${port##*/}
done
cut -d' ' -f1 /proc/uptime >/run/lane/booted
cd "$LANE_CHECKOUT" || echo 126 >/run/lane/status
# A child, so that a command that ends the shell still leaves its status.
(. /run/lane/command) >"$output" 2>&1
echo $? >/run/lane/status
echo b >/proc/sysrq-trigger
sleep 60
