/* SPDX-License-Identifier: GPL-2.0-only */
/* IPv6 and its extension headers: what a packet carries, and where. RFC 8200 section 4. */
#ifndef TAP_IP6_KERN_H
#define TAP_IP6_KERN_H

#include <linux/in.h>
#include <linux/in6.h>
#include <linux/ipv6.h>

#include "cursor_kern.h"

#define IP6_MAX_EXTENSIONS 6
#define IP6_SEARCH_BYTES 1536 /* of a frame: headers are followed as far as that */
#define IP6_NOTHING IPPROTO_NONE /* 59: nothing follows, or nothing that can be read */
#define IP6_FRAGMENT_OFFSET 0xfff8

#define ICMP6_MLD_FIRST 130 /* to 132: RFC 2710 */
#define ICMP6_ND_LAST 137 /* from 133: RFC 4861 section 4 */
#define ICMP6_MLD2_REPORT 143 /* RFC 3810 section 5.2 */

/* Every extension header is of at least eight bytes (RFC 8200, RFC 4302). */
struct ip6_extension {
	__u8 next;
	__u8 length; /* in units that depend on the header */
	__be16 fragment; /* of a fragment header: offset, reserved, more */
	__be32 rest;
};

/* What follows, in one number. */
static __always_inline __u64 ip6_packed(__u8 next, __u32 offset)
{
	return (__u64)offset << 8 | next;
}

/*
 * Where it follows. The bound of an offset must be looked at as the offset, not as
 * the number that it came in: LLVM 19 does that, and the verifier sees no bound then.
 */
static __always_inline __u32 ip6_offset(__u64 payload)
{
	__u32 offset = payload >> 8;

	forget_bound(offset);
	return offset;
}

static __always_inline bool is_ip6_extension(__u8 next)
{
	return next == IPPROTO_HOPOPTS || next == IPPROTO_ROUTING || next == IPPROTO_FRAGMENT ||
	       next == IPPROTO_DSTOPTS || next == IPPROTO_AH;
}

/* What a host's kernel sends by itself to keep its place in the network. */
static __always_inline bool is_quiet_icmp6(__u8 type)
{
	return (__u8)(type - ICMP6_MLD_FIRST) <= ICMP6_ND_LAST - ICMP6_MLD_FIRST ||
	       type == ICMP6_MLD2_REPORT;
}

/* One extension header on. A global function: verified once, however often it is called. */
__noinline __u64 ip6_step(struct __sk_buff *skb, __u32 next, __u32 offset)
{
	struct ip6_extension *header;
	struct cursor cursor;
	__u32 bytes;

	if (offset + sizeof(*header) > IP6_SEARCH_BYTES)
		return ip6_packed(IP6_NOTHING, offset);
	cursor = cursor_at(skb, offset);
	header = cursor_take(&cursor, struct ip6_extension);
	if (!header)
		return ip6_packed(IP6_NOTHING, offset);
	bytes = header->length * 8 + 8;
	if (next == IPPROTO_AH)
		bytes = header->length * 4 + 8; /* RFC 4302 section 2.2 */
	if (next == IPPROTO_FRAGMENT) {
		/* Later fragments are the middle of something. */
		if (header->fragment & bpf_htons(IP6_FRAGMENT_OFFSET))
			return ip6_packed(IP6_NOTHING, offset);
		bytes = sizeof(*header);
	}
	return ip6_packed(header->next, offset + bytes);
}

/*
 * What the packet with an IPv6 header at `l3_offset` carries, as ip6_packed()
 * has it; IP6_NOTHING for a later fragment and for what is cut off.
 */
static __always_inline __u64 ip6_payload(struct __sk_buff *skb, __u32 l3_offset)
{
	struct cursor cursor = cursor_at(skb, l3_offset);
	struct ipv6hdr *ip = cursor_take(&cursor, struct ipv6hdr);
	__u64 payload;

	if (!ip || ip->version != 6)
		return IP6_NOTHING;
	payload = ip6_packed(ip->nexthdr, l3_offset + sizeof(*ip));
	for (int i = 0; i < IP6_MAX_EXTENSIONS && is_ip6_extension(payload); i++)
		payload = ip6_step(skb, payload & 0xff, ip6_offset(payload));
	return payload;
}

#endif
