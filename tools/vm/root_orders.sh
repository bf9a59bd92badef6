#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Runs what the machine is told over a virtio serial port. A line is "NUMBER
# BASE64-OF-COMMAND"; the answer to it is "NUMBER STATUS BASE64-OF-OUTPUT". Each boot
# begins with number 0.
for port in /sys/class/virtio-ports/*; do
	[ "$(cat "$port/name")" = guest.orders ] && orders=/dev/${port##*/}
done
exec 3<>"$orders"
echo "0 0 $(uname -r | base64 -w0)" >&3
while read -r number encoded <&3; do
	echo "$encoded" | base64 -d >/run/order
	sh /run/order >/run/order.output 2>&1 </dev/null 3>&-
	echo "$number $? $(base64 -w0 /run/order.output)" >&3
done
