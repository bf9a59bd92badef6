#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# First process of a machine with a root of its own on its first disk.
export PATH=/bin
/bin/busybox mount -t proc proc /proc
/bin/busybox --install -s /bin
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
while read -r module options; do
	# shellcheck disable=SC2086 # options are words
	insmod "/modules/$module" $options || echo "insmod $module failed"
done </modules/order
mkdir -p /mnt/root
mount -t ext4 /dev/vda /mnt/root || exec reboot -f
for folder in proc sys dev; do
	mount --move "/$folder" "/mnt/root/$folder"
done
exec switch_root /mnt/root /sbin/init
