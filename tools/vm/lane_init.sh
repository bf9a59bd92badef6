#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# First process of a lane guest: the host's root, read-only over 9p, under a writable
# overlay that dies with the guest. Then the host's own user space takes over.
export PATH=/bin
/bin/busybox mount -t proc proc /proc
/bin/busybox --install -s /bin
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
while read -r module options; do
	# shellcheck disable=SC2086 # options are words
	insmod "/modules/$module" $options || echo "insmod $module failed"
done </modules/order

mkdir -p /mnt/lower /mnt/fast /mnt/over /mnt/root
# Kernels before 6.1 clear two buffers of msize for each request: small is fast.
mount -t 9p -o trans=virtio,version=9p2000.L,msize=32768,cache=loose,ro host /mnt/lower ||
	exec reboot -f
mount -t ext4 -o ro /dev/vda /mnt/fast || exec reboot -f
mount -t tmpfs over /mnt/over
mkdir /mnt/over/upper /mnt/over/work
mount -t overlay -o lowerdir=/mnt/fast:/mnt/lower,upperdir=/mnt/over/upper,workdir=/mnt/over/work \
	root /mnt/root || exec reboot -f
for folder in proc sys dev; do
	mount --move "/$folder" "/mnt/root/$folder"
done
mount -t tmpfs tmpfs /mnt/root/run
mkdir -p /mnt/root/run/lane
mount -t 9p -o trans=virtio,version=9p2000.L,msize=32768 lane /mnt/root/run/lane
. /mnt/root/run/lane/place
for folder in tmp var/tmp; do
	case $LANE_CHECKOUT/ in
	/$folder/*) ;; # the checkout must not vanish; the overlay can be written to as well
	*) mount -t tmpfs tmpfs "/mnt/root/$folder" ;;
	esac
done
# Modules that were not loaded beforehand come by the kernel's own modprobe.
mkdir -p "/mnt/root/lib/modules/$LANE_RELEASE"
mount --bind "/mnt/lower$LANE_MODULES" "/mnt/root/lib/modules/$LANE_RELEASE"
exec switch_root /mnt/root /bin/sh /run/lane/stage2
