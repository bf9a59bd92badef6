/* SPDX-License-Identifier: GPL-2.0-only */
/* One ring record for an offence, at the port's rate; what is not told is counted. */
#ifndef TAP_TELL_KERN_H
#define TAP_TELL_KERN_H

#include "judge_kern.h"

struct offence {
	enum tap_check check;
	__u8 kind;
	enum tap_verdict verdict;
	enum tap_direction direction;
	__u32 offender_ifindex;
	__u32 frame_bytes;
	__u32 wire_bytes;
	__u32 tags;
	__u32 role; /* enum tap_role, of the device that saw it */
	__u32 slot; /* whose rate it is on */
};

/* Whether the port's rate leaves room. A latch is always told: it is rare by nature. */
static __always_inline bool gate_opens(const struct tap_config *config, __u32 slot,
				       enum tap_verdict verdict)
{
	struct tap_gate *gate = gate_at(slot);
	__u64 now_ticks;

	if (!gate)
		return false;
	now_ticks = bpf_jiffies64();
	if (now_ticks - gate->start_ticks >= config->event_window_ticks) {
		gate->start_ticks = now_ticks;
		gate->told = 0;
	}
	if (gate->told >= config->events_per_window && verdict != TAP_VERDICT_LATCHED)
		return false;
	gate->told++;
	return true;
}

/* Old verifiers see that a length is not 0 only where one was added to it. */
static __always_inline void copy_head(struct __sk_buff *skb, struct tap_event *event)
{
	__u64 last = (skb->len < TAP_HEAD_BYTES ? skb->len : TAP_HEAD_BYTES) - 1;

	event->head_bytes = 0;
	forget_bound(last);
	if (last >= TAP_HEAD_BYTES)
		return;
	if (!bpf_skb_load_bytes(skb, 0, event->head, last + 1))
		event->head_bytes = last + 1;
}

/* Out of line: it is rare, and its registers are not the callers' burden. */
static __noinline int event_tell(struct __sk_buff *skb, const struct offence *offence,
				 struct tap_counters *counters)
{
	struct tap_event *event;

	if (!counters)
		return 0;
	event = event_reserve();
	if (!event) {
		counters->events_lost++;
		return 0;
	}
	counters->events_told++;
	event->time_ns = bpf_ktime_get_ns();
	event->ifindex = skb->ifindex;
	event->offender_ifindex = offence->offender_ifindex;
	event->frame_bytes = offence->frame_bytes;
	event->wire_bytes = offence->wire_bytes;
	event->check = offence->check;
	event->kind = offence->kind;
	event->direction = offence->direction;
	event->role = offence->role;
	event->verdict = offence->verdict;
	event->tags = offence->tags;
	event->outer_tpid = skb->vlan_present ? (__be16)skb->vlan_proto : 0;
	event->outer_tci = skb->vlan_present ? skb->vlan_tci : 0;
	event->reserved = 0;
	copy_head(skb, event);
	event_submit(event);
	return 0;
}

/* `counters` are those of the device that saw the frame. */
static __always_inline void tell(struct __sk_buff *skb, const struct tap_config *config,
				 const struct offence *offence, struct tap_counters *counters)
{
	if (gate_opens(config, offence->slot, offence->verdict)) {
		struct offence told = *offence;

		event_tell(skb, &told, counters);
	} else {
		counters->events_suppressed++;
	}
}

#endif
