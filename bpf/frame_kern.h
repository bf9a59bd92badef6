/* SPDX-License-Identifier: GPL-2.0-only */
/* What the four hooks share: size the frame, read it, count it. */
#ifndef TAP_FRAME_KERN_H
#define TAP_FRAME_KERN_H

#include "clock_kern.h"
#include "count_kern.h"
#include "glance_kern.h"
#include "pair_kern.h"
#include "tell_kern.h"

/* Programs behind ours still run; TCX_NEXT and TC_ACT_UNSPEC are one value. */
#define VERDICT_NEXT (-1)
#define VERDICT_DROP 2 /* TC_ACT_SHOT, TCX_DROP */

static __always_inline void count_frame(const struct __sk_buff *skb, struct tap_counters *counters)
{
	counters->frames++;
	counters->bytes += frame_bytes(skb);
}

/* Whether the frame is done with once it is counted: plain, and no larger than the path. */
static __always_inline bool frame_is_ordinary(const struct __sk_buff *skb, enum glance glance,
					      __u32 mtu_bytes)
{
	return glance != GLANCE_CLOSER && (!mtu_bytes || frame_bytes(skb) <= mtu_bytes + ETH_HLEN);
}

/* Reads and counts a frame that is not ordinary. */
static __always_inline struct frame frame_examine(struct __sk_buff *skb, const struct port_ref *ref,
						  struct tap_counters *counters,
						  enum tap_direction direction, bool is_hosts_own)
{
	struct frame frame = frame_read(skb, counters->frames);

	count_size(counters, &frame, ref->port->mtu_bytes);
	count_kinds(counters, &frame, is_hosts_own);
	pair_see(skb, ref, direction, &frame);
	return frame;
}

/*
 * The clock and the latch, behind which nothing passes. What comes from a guest
 * is a sign of life even where it is dropped; what is dropped on its way to one
 * has not reached it.
 */
static __always_inline int frame_end(const struct port_ref *ref, struct tap_counters *counters,
				     enum tap_direction direction, bool is_quiet)
{
	bool is_open = ref->port->latch == TAP_LATCH_OPEN;

	if (is_open || direction == TAP_IN)
		clock_stamp(ref, direction, is_quiet);
	if (is_open)
		return VERDICT_NEXT;
	counters->dropped[TAP_DROP_QUARANTINE]++;
	return VERDICT_DROP;
}

#endif
