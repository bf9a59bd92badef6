/* SPDX-License-Identifier: GPL-2.0-only */
/* What the four hooks share: find the slot, size the frame, count it. */
#ifndef TAP_FRAME_KERN_H
#define TAP_FRAME_KERN_H

#include "count_kern.h"
#include "port_kern.h"
#include "tell_kern.h"

/* Programs behind ours still run; TCX_NEXT and TC_ACT_UNSPEC are one value. */
#define VERDICT_NEXT (-1)
#define VERDICT_DROP 2 /* TC_ACT_SHOT, TCX_DROP */

/* As tap_counters.bytes counts it. */
static __always_inline __u32 frame_bytes(const struct __sk_buff *skb)
{
	return skb->len + (skb->vlan_present ? VLAN_TAG_BYTES : 0);
}

static __always_inline void count_frame(const struct __sk_buff *skb, struct tap_counters *counters)
{
	counters->frames++;
	counters->bytes += frame_bytes(skb);
}

/* Whether the frame is done with: plain, and no larger than the path. */
static __always_inline bool frame_is_ordinary(const struct __sk_buff *skb, __u32 mtu_bytes)
{
	return frame_is_plain(skb) && (!mtu_bytes || frame_bytes(skb) <= mtu_bytes + ETH_HLEN);
}

/* Reads and counts a frame that is not ordinary. */
static __always_inline struct frame frame_examine(struct __sk_buff *skb,
						  struct tap_counters *counters, __u32 mtu_bytes,
						  bool is_hosts_own)
{
	struct frame frame = frame_read(skb, counters->frames);

	count_size(counters, &frame, mtu_bytes);
	count_kinds(counters, &frame, is_hosts_own);
	return frame;
}

/* The directions that are counted and never judged. */
static __always_inline int count_only(struct __sk_buff *skb, enum tap_direction direction)
{
	struct tap_counters *counters;
	struct port_ref ref;

	if (!port_find(skb->ifindex, &ref))
		return VERDICT_NEXT;
	counters = counters_at(ref.slot, direction);
	if (!counters)
		return VERDICT_NEXT;
	count_frame(skb, counters);
	if (!frame_is_ordinary(skb, ref.port->mtu_bytes))
		frame_examine(skb, counters, ref.port->mtu_bytes, false);
	if (ref.port->latch == TAP_LATCH_OPEN)
		return VERDICT_NEXT;
	counters->dropped[TAP_DROP_QUARANTINE]++;
	return VERDICT_DROP;
}

#endif
