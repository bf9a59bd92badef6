// SPDX-License-Identifier: GPL-2.0-only
/* What it takes to know when a port last sent: ours, and what it could have been. */
#include "../bpf/frame_kern.h"

SEC("tc")
int clock_none(struct __sk_buff *skb)
{
	struct port_ref ref;

	return port_find(skb->ifindex, &ref) && ref.port->latch ? VERDICT_DROP : VERDICT_NEXT;
}

/* The tick compared and never written: what our way is but for one frame in a tick. */
SEC("tc")
int clock_compared(struct __sk_buff *skb)
{
	struct port_ref ref;

	if (!port_find(skb->ifindex, &ref) || ref.port->latch)
		return VERDICT_DROP;
	return bpf_jiffies64() == ref.port->latched_at_ns ? VERDICT_DROP : VERDICT_NEXT;
}

SEC("tc")
int clock_each_tick(struct __sk_buff *skb)
{
	struct port_ref ref;

	if (!port_find(skb->ifindex, &ref) || ref.port->latch)
		return VERDICT_DROP;
	clock_stamp_seen(ref.port, TAP_IN);
	return VERDICT_NEXT;
}

SEC("tc")
int clock_each_quiet_tick(struct __sk_buff *skb)
{
	struct port_ref ref;

	if (!port_find(skb->ifindex, &ref) || ref.port->latch)
		return VERDICT_DROP;
	clock_stamp_quiet(ref.slot, TAP_IN);
	return VERDICT_NEXT;
}

/* Ticks written by each frame: the line goes from CPU to CPU. */
SEC("tc")
int clock_ticks_written(struct __sk_buff *skb)
{
	struct port_ref ref;

	if (!port_find(skb->ifindex, &ref) || ref.port->latch)
		return VERDICT_DROP;
	ref.port->seen_ticks[TAP_IN] = bpf_jiffies64();
	return VERDICT_NEXT;
}

SEC("tc")
int clock_each_frame(struct __sk_buff *skb)
{
	struct port_ref ref;

	if (!port_find(skb->ifindex, &ref) || ref.port->latch)
		return VERDICT_DROP;
	ref.port->seen_ns[TAP_IN] = bpf_ktime_get_ns();
	return VERDICT_NEXT;
}

char LICENSE[] SEC("license") = "GPL";
