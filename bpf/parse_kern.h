/* SPDX-License-Identifier: GPL-2.0-only */
/* What a frame is: its tags, and what stands behind them. Knows no port and no counter. */
#ifndef TAP_PARSE_KERN_H
#define TAP_PARSE_KERN_H

#include "dhcp6_kern.h"
#include "dhcp_kern.h"
#include "gso_kern.h"
#include "llc_kern.h"

#define VLAN_TAG_BYTES 4
#define ETH_P_QINQ_OLD 0x9100

/* All that is found of a frame in one number: found_kern.h lowest, wire bytes highest. */
#define FRAME_FOUND 0x7ffffff
#define FRAME_TAGS_SHIFT 27
#define FRAME_BPDU_SHIFT 30
#define FRAME_WIRE_SHIFT 33

/* What a frame was found to be. */
struct frame {
	__u32 wire_bytes; /* of the largest segment */
	__u32 tags;
	__u32 bpdu; /* enum tap_bpdu; TAP_BPDU_KINDS: it is none */
	__u32 found; /* a message, housekeeping: found_kern.h */
};

/* Where reading it has got to. */
struct reading {
	__u64 tags;
	__u64 l3_offset; /* from skb->data */
	__u64 ethertype; /* behind the tags; below 0x600 it is a length */
};

struct vlan_tag {
	__be16 tci;
	__be16 type; /* of what follows */
} __attribute__((packed));

static __always_inline bool is_tpid(__u16 ethertype)
{
	return ethertype == ETH_P_8021Q || ethertype == ETH_P_8021AD || ethertype == ETH_P_QINQ_OLD;
}

/* The tags in metadata and in bytes alike; leaves l3_offset behind them. */
static __always_inline void tags_read(const struct __sk_buff *skb, struct reading *reading)
{
	struct cursor cursor = cursor_at(skb, 0);
	struct mac_header *mac = cursor_take(&cursor, struct mac_header);
	struct vlan_tag *tag;

	if (!mac)
		return;
	reading->ethertype = bpf_ntohs(mac->type);
	reading->l3_offset = sizeof(*mac);
	reading->tags = skb->vlan_present ? 1 : 0;
#pragma unroll
	for (int i = 0; i < TAP_MAX_TAGS; i++) {
		if (reading->tags >= TAP_MAX_TAGS || !is_tpid(reading->ethertype))
			return;
		tag = cursor_take(&cursor, struct vlan_tag);
		if (!tag)
			return;
		reading->tags++;
		reading->ethertype = bpf_ntohs(tag->type);
		reading->l3_offset += sizeof(*tag);
	}
}

/*
 * All of a frame that is not plain, packed into one number: see forget_ways(),
 * which `unknown` is for.
 */
static __always_inline __u64 frame_read_packed(struct __sk_buff *skb, __u64 unknown)
{
	__u64 wire_bytes = skb->len, bpdu = TAP_BPDU_KINDS;
	__u32 found = FOUND_NOTHING, llc;
	struct reading reading = {};

	frame_make_linear(skb, SLOW_LINEAR_BYTES);
	tags_read(skb, &reading);
	forget_ways(wire_bytes, unknown);
	forget_ways(reading.tags, unknown);
	forget_ways(reading.l3_offset, unknown);
	forget_ways(reading.ethertype, unknown);
	if (is_llc(reading.ethertype)) {
		llc = llc_read(skb, reading.l3_offset);
		if (llc & LLC_ETHERTYPE) {
			reading.ethertype = (__u16)llc;
			reading.l3_offset += LLC_SNAP_BYTES;
		} else {
			bpdu = llc;
		}
	}
	forget_ways(reading.l3_offset, unknown);
	forget_ways(reading.ethertype, unknown);
	forget_ways(bpdu, unknown);
	if (reading.ethertype == ETH_P_IP)
		found = ip4_read(skb, reading.l3_offset);
	else if (reading.ethertype == ETH_P_IPV6)
		found = ip6_read(skb, reading.l3_offset);
	else if (reading.ethertype == ETH_P_ARP)
		found |= FOUND_QUIET;
	else if (reading.ethertype == ETH_P_STP)
		bpdu = bare_stp_read(skb, reading.l3_offset);
	if (skb->gso_size)
		wire_bytes = gso_wire_bytes(skb, reading.l3_offset, reading.ethertype);
	if (skb->vlan_present)
		wire_bytes += VLAN_TAG_BYTES;
	return wire_bytes << FRAME_WIRE_SHIFT | reading.tags << FRAME_TAGS_SHIFT |
	       bpdu << FRAME_BPDU_SHIFT | found;
}

static __always_inline struct frame frame_read(struct __sk_buff *skb, __u64 unknown)
{
	__u64 packed = frame_read_packed(skb, unknown);

	forget_ways(packed, unknown);
	return (struct frame){
		.wire_bytes = packed >> FRAME_WIRE_SHIFT,
		.tags = packed >> FRAME_TAGS_SHIFT & 7,
		.bpdu = packed >> FRAME_BPDU_SHIFT & 7,
		.found = packed & FRAME_FOUND,
	};
}

#endif
