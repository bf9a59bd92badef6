/* SPDX-License-Identifier: GPL-2.0-only */
/* IPv4, UDP and DHCP: which frame is a message, and of which type. RFC 2131, RFC 2132. */
#ifndef TAP_DHCP_KERN_H
#define TAP_DHCP_KERN_H

#include <linux/in.h>
#include <linux/ip.h>
#include <linux/udp.h>

#include "cursor_kern.h"
#include "found_kern.h"

#define DHCP_SERVER_PORT 67
#define DHCP_CLIENT_PORT 68
#define DHCP_COOKIE 0x63825363
#define DHCP_REPLY 2 /* op of a message to a client */
#define DHCP_SNAME_OFFSET 44 /* RFC 2131 section 2, figure 1 */
#define DHCP_FILE_OFFSET 108
#define DHCP_COOKIE_OFFSET 236
#define DHCP_OPTIONS_OFFSET 240
#define DHCP_SEARCH_BYTES 1536 /* of a frame: any option of a packet of 1500 bytes */
#define DHCP_STEPS_AT_ONCE 28
#define DHCP_MOST_TURNS 30 /* 840 steps: enough for all of them, 3 bytes in 2 steps */
#define DHCP_OPTION_END 255 /* and a pad is 0, its successor in eight bits */
#define DHCP_OPTION_OVERLOAD 52
#define DHCP_OPTION_TYPE 53 /* differs from 52 in the last bit alone */
#define DHCP_OVERLOAD_FILE 1
#define DHCP_OVERLOAD_SNAME 2

/* The magic cookie and the first option. Fewer bytes hold no type. */
struct dhcp_options {
	__be32 cookie;
	__u8 code;
	__u8 bytes;
	__u8 value;
} __attribute__((packed));

/* 1 for 0, 0 for what else a byte may be, without a branch. */
static __always_inline __u64 is_zero(__u64 byte)
{
	return (byte - 1) >> 63;
}

/* All bits for 1, none for 0, and no compiler makes a branch of it. */
static __always_inline __u64 mask_of(__u64 bit)
{
	__u64 mask = -bit;

	forget_bound(mask);
	return mask;
}

/*
 * Some options on: whether the walk is over. RFC 2132 section 2: options are
 * code, length, value; pads and the end have no length. Nothing that is looked
 * for fits into the last two bytes.
 *
 * Written for verifiers, which keep every branch that is still to be tried: few
 * branches, few steps, and all that changes is in memory that they know nothing
 * about. As a global function it is verified once, however often it is called.
 */
__noinline __u32 dhcp_walk_some(struct __sk_buff *skb)
{
	volatile struct dhcp_walk *walk = walk_get();
	void *data = (void *)(long)skb->data;
	void *data_end = (void *)(long)skb->data_end;

	if (!walk)
		return 1;
	for (int i = 0; i < DHCP_STEPS_AT_ONCE; i++) {
		__u64 at = walk->offset % SLOW_LINEAR_BYTES;
		__u64 past, none, type, overload, bytes, old;
		__u8 *option = data + at;

		if ((void *)(option + 3) > data_end)
			return 1;
		past = (walk->end - at - 3) >> 63;
		none = past | is_zero(option[1]);
		type = is_zero(option[0] ^ DHCP_OPTION_TYPE) & ~none;
		overload = is_zero(option[0] ^ DHCP_OPTION_OVERLOAD) & ~none;
		walk->type |= option[2] & mask_of(type);
		old = walk->overload;
		walk->overload = old ^ ((old ^ option[2]) & mask_of(overload));
		/* Two pads at once. */
		bytes = 2 + option[1];
		bytes ^= (bytes ^ (1 + is_zero(option[1]))) & mask_of(is_zero(option[0]));
		past |= type | is_zero(option[0] ^ DHCP_OPTION_END);
		walk->offset = (at + bytes) | mask_of(past);
	}
	return walk->offset > SLOW_LINEAR_BYTES;
}

static __always_inline void dhcp_walk(struct __sk_buff *skb, volatile struct dhcp_walk *walk,
				      __u32 offset, __u32 end)
{
	walk->offset = offset;
	walk->end = end;
	for (int turn = 0; turn < DHCP_MOST_TURNS; turn++) {
		if (dhcp_walk_some(skb))
			return;
	}
}

/*
 * The message type, wherever option 53 stands; RFC 2131 section 4.1 for the
 * order of the areas. `bootp` and `end` are offsets from skb->data.
 */
__noinline __u32 dhcp_search_type(struct __sk_buff *skb, __u32 bootp, __u32 end)
{
	volatile struct dhcp_walk *walk = walk_get();
	__u32 overload;

	if (!walk)
		return TAP_DHCP_OTHER;
	if (end > DHCP_SEARCH_BYTES)
		end = DHCP_SEARCH_BYTES;
	walk->type = 0;
	walk->overload = 0;
	dhcp_walk(skb, walk, bootp + DHCP_OPTIONS_OFFSET, end);
	/* Only here: option 52 inside of `file` or `sname` sends nobody anywhere. */
	overload = walk->overload;
	if (!walk->type && (overload & DHCP_OVERLOAD_FILE))
		dhcp_walk(skb, walk, bootp + DHCP_FILE_OFFSET, bootp + DHCP_COOKIE_OFFSET);
	if (!walk->type && (overload & DHCP_OVERLOAD_SNAME))
		dhcp_walk(skb, walk, bootp + DHCP_SNAME_OFFSET, bootp + DHCP_FILE_OFFSET);
	return walk->type < TAP_DHCP_TYPES ? walk->type : TAP_DHCP_OTHER;
}

/* Nearly every client and server puts the type first: then nothing is searched for. */
static __always_inline __u32 dhcp_type(struct __sk_buff *skb, __u32 bootp, __u32 end)
{
	struct cursor cursor = cursor_at(skb, bootp + DHCP_COOKIE_OFFSET);
	struct dhcp_options *options = cursor_take(&cursor, struct dhcp_options);

	if (!options || bootp + DHCP_OPTIONS_OFFSET > end ||
	    options->cookie != bpf_htonl(DHCP_COOKIE))
		return TAP_DHCP_OTHER;
	if (options->code == DHCP_OPTION_TYPE && options->bytes &&
	    bootp + DHCP_COOKIE_OFFSET + sizeof(*options) <= end)
		return options->value < TAP_DHCP_TYPES ? options->value : TAP_DHCP_OTHER;
	return dhcp_search_type(skb, bootp, end);
}

static __always_inline bool is_dhcp_port(__be16 port)
{
	return port == bpf_htons(DHCP_SERVER_PORT) || port == bpf_htons(DHCP_CLIENT_PORT);
}

/*
 * Only a server offers, acknowledges or refuses (RFC 2131 table 3). A reply is a
 * server's whatever its type, and if it has none: some clients ask no more than op.
 */
static __always_inline bool is_dhcp_server(__u8 op, __u32 type)
{
	return op == DHCP_REPLY || type == TAP_DHCP_OFFER || type == TAP_DHCP_ACK ||
	       type == TAP_DHCP_NAK;
}

/* A packet with an IPv4 header at `l3_offset`: as found_kern.h has it. */
static __always_inline __u32 ip4_read(struct __sk_buff *skb, __u32 l3_offset)
{
	struct cursor cursor = cursor_at(skb, l3_offset);
	struct iphdr *ip = cursor_take(&cursor, struct iphdr);
	__u32 ip_bytes, udp_bytes, offset, end, found;
	struct udphdr *udp;
	__u8 *first, op;

	if (ip && ip->protocol == IPPROTO_IGMP)
		return FOUND_NOTHING | FOUND_QUIET;
	if (!ip || ip->version != 4 || ip->ihl < 5 || ip->protocol != IPPROTO_UDP ||
	    (ip->frag_off & bpf_htons(0x1fff)))
		return FOUND_NOTHING;
	offset = l3_offset + ip->ihl * 4;
	ip_bytes = bpf_ntohs(ip->tot_len);
	cursor = cursor_at(skb, offset);
	udp = cursor_take(&cursor, struct udphdr);
	if (!udp || !(is_dhcp_port(udp->source) || is_dhcp_port(udp->dest)))
		return FOUND_NOTHING;
	udp_bytes = bpf_ntohs(udp->len);
	end = offset + udp_bytes;
	/* A total length of 0 is what segmentation offload leaves. */
	if (ip_bytes && end > l3_offset + ip_bytes)
		end = l3_offset + ip_bytes;
	/* An empty datagram is no message. */
	first = cursor_take(&cursor, __u8);
	if (end <= offset + sizeof(*udp) || !first)
		return FOUND_NOTHING;
	op = *first;
	offset += sizeof(*udp);
	found = dhcp_type(skb, offset, end);
	if (is_dhcp_server(op, found))
		found |= FOUND_SERVER;
	return found | FOUND_QUIET | offset << FOUND_OFFSET_SHIFT;
}

#endif
