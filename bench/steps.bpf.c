// SPDX-License-Identifier: GPL-2.0-only
/* The hook of a tap in steps, each with all before it: where the cost of a frame goes. */
#include "../bpf/follow_kern.h"

SEC("tc")
int step_slot(struct __sk_buff *skb)
{
	struct port_ref ref;

	return port_find(skb->ifindex, &ref) && ref.port->latch ? VERDICT_DROP : VERDICT_NEXT;
}

SEC("tc")
int step_counted(struct __sk_buff *skb)
{
	struct tap_counters *counters;
	struct port_ref ref;

	if (!port_find(skb->ifindex, &ref))
		return VERDICT_NEXT;
	counters = counters_at(ref.slot, TAP_IN);
	if (!counters)
		return VERDICT_NEXT;
	count_frame(skb, counters);
	return ref.port->latch ? VERDICT_DROP : VERDICT_NEXT;
}

/* Counted, and read as far as it takes: a frame that is not ordinary by its kind too. */
SEC("tc")
int step_read(struct __sk_buff *skb)
{
	return count_only(skb, TAP_IN);
}

char LICENSE[] SEC("license") = "GPL";
