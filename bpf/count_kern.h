/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Exact counters. Per CPU and plain: a tc program runs with softirqs off, so
 * nothing else on its CPU writes here meanwhile.
 */
#ifndef TAP_COUNT_KERN_H
#define TAP_COUNT_KERN_H

#include "parse_kern.h"

/* As tap_counters.bytes counts it. */
static __always_inline __u32 frame_bytes(const struct __sk_buff *skb)
{
	return skb->len + (skb->vlan_present ? VLAN_TAG_BYTES : 0);
}

/* What the frame fills of its path: no Ethernet header, and one tag is free. */
static __always_inline __u32 path_bytes(const struct frame *frame)
{
	return frame->wire_bytes - ETH_HLEN - (frame->tags ? VLAN_TAG_BYTES : 0);
}

static __always_inline bool is_oversized(const struct frame *frame, __u32 mtu_bytes)
{
	return mtu_bytes && path_bytes(frame) > mtu_bytes;
}

/* Too large, and would not be but for the tags behind the first. */
static __always_inline bool is_oversized_by_tags(const struct frame *frame, __u32 mtu_bytes)
{
	return frame->tags > 1 &&
	       path_bytes(frame) - (frame->tags - 1) * VLAN_TAG_BYTES <= mtu_bytes;
}

static __always_inline void count_size(struct tap_counters *counters, const struct frame *frame,
				       __u32 mtu_bytes)
{
	if (!is_oversized(frame, mtu_bytes))
		return;
	counters->oversized++;
	if (is_oversized_by_tags(frame, mtu_bytes))
		counters->oversized_by_tags++;
}

static __always_inline void count_message(struct tap_counters *counters, __u32 found)
{
	__u64 dhcp = found_type(found), dhcp6 = dhcp - TAP_MESSAGE_DHCP6;

	forget_bound(dhcp);
	forget_bound(dhcp6);
	if (dhcp < TAP_DHCP_TYPES)
		counters->dhcp[dhcp]++;
	else if (dhcp6 < TAP_DHCP6_TYPES)
		counters->dhcp6[dhcp6]++;
	if (found & FOUND_SERVER)
		counters->dhcp_server++;
}

static __always_inline void count_kinds(struct tap_counters *counters, const struct frame *frame,
					bool is_hosts_own)
{
	__u64 bpdu = frame->bpdu;

	forget_bound(bpdu);
	if (frame->tags)
		counters->vlan_tagged++;
	if (frame->tags > 1)
		counters->vlan_nested++;
	if (found_message(frame->found))
		count_message(counters, frame->found);
	if (bpdu >= TAP_BPDU_KINDS)
		return;
	if (is_hosts_own)
		counters->bpdu_host++;
	else
		counters->bpdu[bpdu]++;
}

#endif
