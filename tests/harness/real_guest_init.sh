#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The only process of a real guest: brings its NIC up, then runs what it is told over a
# virtio serial port. A line is "NUMBER BASE64-OF-COMMAND"; the answer to it is
# "NUMBER STATUS BASE64-OF-OUTPUT".
export PATH=/bin
/bin/busybox mount -t proc proc /proc
/bin/busybox --install -s /bin
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
while read -r module options; do
	# shellcheck disable=SC2086 # options are words
	insmod "/modules/$module" $options || echo "insmod $module failed"
done </modules/order

ip link set lo up
# guest_address comes from the kernel's command line.
[ -n "$guest_address" ] && ip address add "$guest_address" dev eth0
ip link set eth0 up

for port in /sys/class/virtio-ports/*; do
	[ "$(cat "$port/name")" = guest.orders ] && orders=/dev/${port##*/}
done
exec 3<>"$orders"
echo "0 0 $(uname -r | base64 -w0)" >&3
while read -r number encoded <&3; do
	echo "$encoded" | base64 -d >/tmp/order
	sh /tmp/order >/tmp/output 2>&1 </dev/null 3>&-
	echo "$number $? $(base64 -w0 /tmp/output)" >&3
done
