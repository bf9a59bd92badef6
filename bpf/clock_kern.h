/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * When a port last sent and last received anything.
 *
 * A guest whose programs are frozen still answers ARP and neighbour discovery,
 * and what DHCP does is told apart: such housekeeping has clocks of its own.
 *
 * Reading a clock costs as much as all else that is done for a frame, reading
 * jiffies costs nothing: so the clock is read for the first frame of a tick.
 * CPUs share these stamps without a lock; of two that race either is right.
 */
#ifndef TAP_CLOCK_KERN_H
#define TAP_CLOCK_KERN_H

#include "port_kern.h"

static __always_inline void clock_stamp_seen(struct tap_port *port, enum tap_direction direction)
{
	__u64 now_ticks = bpf_jiffies64();

	if (port->seen_ticks[direction] == now_ticks)
		return;
	port->seen_ticks[direction] = now_ticks;
	port->seen_ns[direction] = bpf_ktime_get_ns();
}

static __always_inline void clock_stamp_quiet(__u32 slot, enum tap_direction direction)
{
	struct tap_talk *talk = talk_at(slot);
	__u64 now_ticks = bpf_jiffies64();

	if (!talk || talk->quiet_ticks[direction] == now_ticks)
		return;
	talk->quiet_ticks[direction] = now_ticks;
	talk->quiet_ns[direction] = bpf_ktime_get_ns();
}

static __always_inline void clock_stamp(const struct port_ref *ref, enum tap_direction direction,
					bool is_quiet)
{
	if (is_quiet)
		clock_stamp_quiet(ref->slot, direction);
	else
		clock_stamp_seen(ref->port, direction);
}

#endif
