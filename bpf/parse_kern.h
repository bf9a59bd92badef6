/* SPDX-License-Identifier: GPL-2.0-only */
/* What a frame is: its tags, and what stands behind them. Knows no port and no counter. */
#ifndef TAP_PARSE_KERN_H
#define TAP_PARSE_KERN_H

#include "dhcp_kern.h"
#include "gso_kern.h"
#include "llc_kern.h"

#define VLAN_TAG_BYTES 4
#define ETH_P_QINQ_OLD 0x9100

/* What a frame was found to be. */
struct frame {
	__u32 wire_bytes; /* of the largest segment */
	__u32 tags;
	__u32 bpdu; /* enum tap_bpdu; TAP_BPDU_KINDS: it is none */
	__u32 dhcp; /* enum tap_dhcp; TAP_DHCP_TYPES: it is none */
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

/*
 * Whether nothing but its size could matter about the frame: no tag, no LLC,
 * no UDP over IPv4. The way of nearly all traffic, so it reads two words.
 */
static __always_inline bool frame_is_plain(const struct __sk_buff *skb)
{
	struct cursor cursor = cursor_at(skb, 0);
	struct mac_header *mac = cursor_take(&cursor, struct mac_header);
	struct iphdr *ip;

	if (!mac || skb->vlan_present)
		return false;
	if (mac->type == bpf_htons(ETH_P_IP)) {
		ip = cursor_take(&cursor, struct iphdr);
		return ip && ip->protocol != IPPROTO_UDP;
	}
	return mac->type == bpf_htons(ETH_P_IPV6) || mac->type == bpf_htons(ETH_P_ARP);
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
	__u64 wire_bytes = skb->len, bpdu = TAP_BPDU_KINDS, dhcp = TAP_DHCP_TYPES;
	struct reading reading = {};
	__u32 found;

	frame_make_linear(skb, SLOW_LINEAR_BYTES);
	tags_read(skb, &reading);
	forget_ways(reading.tags, unknown);
	forget_ways(reading.l3_offset, unknown);
	forget_ways(reading.ethertype, unknown);
	if (is_llc(reading.ethertype)) {
		found = llc_read(skb, reading.l3_offset);
		if (found & LLC_ETHERTYPE) {
			reading.ethertype = (__u16)found;
			reading.l3_offset += LLC_SNAP_BYTES;
		} else {
			bpdu = found;
		}
	}
	if (reading.ethertype == ETH_P_IP)
		dhcp = dhcp_read(skb, reading.l3_offset);
	else if (reading.ethertype == ETH_P_STP)
		bpdu = bare_stp_read(skb, reading.l3_offset);
	if (skb->gso_size)
		wire_bytes = gso_wire_bytes(skb, reading.l3_offset, reading.ethertype);
	if (skb->vlan_present)
		wire_bytes += VLAN_TAG_BYTES;
	return wire_bytes << 32 | reading.tags << 16 | bpdu << 8 | dhcp;
}

static __always_inline struct frame frame_read(struct __sk_buff *skb, __u64 unknown)
{
	__u64 packed = frame_read_packed(skb, unknown);

	forget_ways(packed, unknown);
	return (struct frame){
		.wire_bytes = packed >> 32,
		.tags = packed >> 16 & 0xff,
		.bpdu = packed >> 8 & 0xff,
		.dhcp = packed & 0xff,
	};
}

#endif
