/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a frame is. A bounded cursor over its bytes: a length that the frame
 * states is believed only as far as the bytes reach. Of the maps it
 * knows a scratch word alone.
 *
 * The rules for a BPDU lean towards the reader who might see one: any frame
 * that a switch, a bridge or a dissector could take for spanning tree is one,
 * whatever its destination and its length field say. IEEE 802.1Q-2018 clause
 * 14, IEEE 802.2 (LLC), and Cisco's SNAP encapsulations of PVST+.
 */
#ifndef TAP_PARSE_KERN_H
#define TAP_PARSE_KERN_H

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <stdbool.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "maps_kern.h"

#define VLAN_TAG_BYTES 4
#define ETH_P_QINQ_OLD 0x9100
#define ETH_P_JUMBO_LLC 0x8870 /* LLC in a frame too long for a length field */
#define ETH_P_STP 0x8181 /* no bridge sends it; dissectors read a BPDU behind it */

#define SLOW_LINEAR_BYTES 2048 /* all that a slow path ever looks at */

#define LLC_SAP_STP 0x42
#define LLC_SAP_SNAP 0xaa
#define LLC_UI 0x03
#define LLC_POLL_FINAL 0x10
#define LLC_NUMBERED 0x01 /* clear in information frames alone, of two control bytes */

#define OUI_RFC1042 0x000000 /* an ethertype follows */
#define OUI_8021H 0x0000f8 /* as does here */
#define OUI_CISCO 0x00000c
#define OUI_8021 0x0080c2
#define PID_PVST 0x010b
#define PID_VLAN_BRIDGE 0x010c
#define PID_BPDU 0x000e /* RFC 2684 section 5.2 */

#define DHCP_SERVER_PORT 67
#define DHCP_CLIENT_PORT 68
#define DHCP_COOKIE 0x63825363
#define DHCP_SNAME_OFFSET 44 /* RFC 2131 section 2, figure 1 */
#define DHCP_FILE_OFFSET 108
#define DHCP_COOKIE_OFFSET 236
#define DHCP_OPTIONS_OFFSET 240
#define DHCP_SEARCH_BYTES 1536 /* of a frame: any option of a packet of 1500 bytes */
#define DHCP_OPTION_STEPS 840 /* enough for all of them: 3 bytes in 2 steps */
#define DHCP_OPTION_END 255 /* and a pad is 0, its successor in eight bits */
#define DHCP_OPTION_OVERLOAD 52
#define DHCP_OPTION_TYPE 53 /* differs from 52 in the last bit alone */
#define DHCP_OVERLOAD_FILE 1
#define DHCP_OVERLOAD_SNAME 2

#define VXLAN_PORT 4789
#define GENEVE_PORT 6081
#define TUNNEL_HEADER_BYTES 8 /* VXLAN's, and Geneve's without its options */

/*
 * Makes the compiler forget what it knows of a value, so that a bound which it
 * could prove away stays in the code, where the verifier wants to see it.
 */
#define forget_bound(value) asm volatile("" : "+r"(value))

/* Bytes still ahead. `at` only moves forward, and only past checked bytes. */
struct cursor {
	void *at;
	void *end;
};

struct frame {
	__u32 bytes; /* as tap_counters.bytes counts it */
	__u32 wire_bytes; /* of the largest segment */
	__u32 tags;
	__u32 l3_offset; /* from skb->data */
	__u16 ethertype; /* behind the tags; below 0x600 it is a length */
	bool is_bpdu;
	bool is_dhcp;
	__u8 bpdu; /* enum tap_bpdu */
	__u8 dhcp; /* enum tap_dhcp */
};

struct mac_header {
	__u8 to[ETH_ALEN];
	__u8 from[ETH_ALEN];
	__be16 type;
} __attribute__((packed));

struct vlan_tag {
	__be16 tci;
	__be16 type; /* of what follows */
} __attribute__((packed));

struct llc_header {
	__u8 dsap;
	__u8 ssap;
	__u8 control;
} __attribute__((packed));

struct snap_header {
	__u8 oui[3];
	__be16 pid;
} __attribute__((packed));

struct bpdu_header {
	__be16 protocol;
	__u8 version;
	__u8 type;
} __attribute__((packed));

/* The header at the cursor, or NULL; moves past it. */
#define cursor_take(cursor, type)                                                                  \
	((cursor)->at + sizeof(type) > (cursor)->end                                               \
		 ? (type *)0                                                                       \
		 : (type *)(((cursor)->at += sizeof(type)) - sizeof(type)))

/*
 * `offset` is one of ours and always below SLOW_LINEAR_BYTES; the modulo says
 * so to a verifier that lost sight of it.
 */
static __always_inline struct cursor cursor_at(const struct __sk_buff *skb, __u32 offset)
{
	return (struct cursor){
		.at = (void *)(long)skb->data + offset % SLOW_LINEAR_BYTES,
		.end = (void *)(long)skb->data_end,
	};
}

/*
 * A guest chooses how much of its frame lies in the linear part (the virtio
 * header's hdr_len); what is not there can't be read directly. Invalidates
 * every pointer into the frame.
 */
static __always_inline void frame_make_linear(struct __sk_buff *skb, __u32 want)
{
	__u32 linear = skb->data_end - skb->data;

	if (want > skb->len)
		want = skb->len;
	if (linear < want)
		bpf_skb_pull_data(skb, want);
}

static __always_inline bool is_tpid(__u16 ethertype)
{
	return ethertype == ETH_P_8021Q || ethertype == ETH_P_8021AD || ethertype == ETH_P_QINQ_OLD;
}

static __always_inline bool is_llc(__u16 ethertype)
{
	return ethertype < ETH_P_802_3_MIN || ethertype == ETH_P_JUMBO_LLC;
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
static __always_inline void frame_read_tags(const struct __sk_buff *skb, struct frame *frame)
{
	struct cursor cursor = cursor_at(skb, 0);
	struct mac_header *mac = cursor_take(&cursor, struct mac_header);
	struct vlan_tag *tag;

	if (!mac)
		return;
	frame->ethertype = bpf_ntohs(mac->type);
	frame->l3_offset = sizeof(*mac);
	frame->tags = skb->vlan_present ? 1 : 0;
#pragma unroll
	for (int i = 0; i < TAP_MAX_TAGS; i++) {
		if (frame->tags >= TAP_MAX_TAGS || !is_tpid(frame->ethertype))
			return;
		tag = cursor_take(&cursor, struct vlan_tag);
		if (!tag)
			return;
		frame->tags++;
		frame->ethertype = bpf_ntohs(tag->type);
		frame->l3_offset += sizeof(*tag);
	}
}

/*
 * GARP shares STP's LLC header. Its addresses are 01:80:c2:00:00:20 to :2f (IEEE
 * 802.1D-2004 table 12-1), and :0d between provider bridges (IEEE 802.1ad).
 */
static __always_inline bool is_garp(const __u8 *to, const struct bpdu_header *bpdu)
{
	if (to[0] != 0x01 || to[1] != 0x80 || to[2] != 0xc2 || to[3] || to[4])
		return false;
	if (to[5] == 0x0d)
		return bpdu && bpdu->protocol == bpf_htons(1);
	return (to[5] & 0xf0) == 0x20;
}

/* IEEE 802.1Q-2018 section 14.4: type 0x00 or 0x80 is STP's, 0x02 is by version. */
static __always_inline __u8 bpdu_kind(const struct bpdu_header *bpdu)
{
	if (bpdu->protocol != 0)
		return TAP_BPDU_OTHER;
	if (bpdu->version == 0 && (bpdu->type == 0x00 || bpdu->type == 0x80))
		return TAP_BPDU_STP;
	if (bpdu->version == 2 && bpdu->type == 0x02)
		return TAP_BPDU_RSTP;
	if (bpdu->version == 3 && bpdu->type == 0x02)
		return TAP_BPDU_MSTP;
	return TAP_BPDU_OTHER;
}

static __always_inline void frame_read_stp(struct cursor *cursor, const __u8 *to,
					   struct frame *frame)
{
	struct bpdu_header *bpdu = cursor_take(cursor, struct bpdu_header);

	if (is_garp(to, bpdu))
		return;
	frame->is_bpdu = true;
	frame->bpdu = bpdu ? bpdu_kind(bpdu) : TAP_BPDU_OTHER;
}

static __always_inline void frame_read_bare_stp(const struct __sk_buff *skb, struct frame *frame)
{
	struct cursor cursor = cursor_at(skb, frame->l3_offset);
	struct bpdu_header *bpdu = cursor_take(&cursor, struct bpdu_header);

	frame->is_bpdu = true;
	frame->bpdu = bpdu ? bpdu_kind(bpdu) : TAP_BPDU_OTHER;
}

/* Behind SNAP stands a BPDU, or the type that a frame without LLC would have had. */
static __always_inline void frame_read_snap(struct cursor *cursor, const __u8 *to,
					    struct frame *frame)
{
	struct snap_header *snap = cursor_take(cursor, struct snap_header);
	__u32 oui;
	__u16 pid;

	if (!snap)
		return;
	oui = snap->oui[0] << 16 | snap->oui[1] << 8 | snap->oui[2];
	pid = bpf_ntohs(snap->pid);
	if (oui == OUI_CISCO && (pid == PID_PVST || pid == PID_VLAN_BRIDGE)) {
		frame->is_bpdu = true;
		frame->bpdu = TAP_BPDU_PVST;
	} else if (oui == OUI_8021 && pid == PID_BPDU) {
		frame_read_stp(cursor, to, frame);
	} else if (oui == OUI_RFC1042 || oui == OUI_8021H) {
		frame->ethertype = pid;
		frame->l3_offset += sizeof(struct llc_header) + sizeof(*snap);
	}
}

static __always_inline void frame_read_llc(const struct __sk_buff *skb, struct frame *frame)
{
	struct cursor start = cursor_at(skb, 0);
	struct mac_header *mac = cursor_take(&start, struct mac_header);
	struct cursor cursor = cursor_at(skb, frame->l3_offset);
	struct llc_header *llc = cursor_take(&cursor, struct llc_header);

	if (!mac || !llc)
		return;
	if ((llc->control & ~LLC_POLL_FINAL) == LLC_UI) {
		if (llc->dsap == LLC_SAP_STP)
			frame_read_stp(&cursor, mac->to, frame);
		else if (llc->dsap == LLC_SAP_SNAP && llc->ssap == LLC_SAP_SNAP)
			frame_read_snap(&cursor, mac->to, frame);
	} else if (!(llc->control & LLC_NUMBERED) && llc->dsap == LLC_SAP_STP &&
		   cursor_take(&cursor, __u8)) {
		frame_read_stp(&cursor, mac->to, frame);
	}
}

/* The magic cookie and the first option. Fewer bytes hold no type. */
struct dhcp_options {
	__be32 cookie;
	__u8 code;
	__u8 bytes;
	__u8 value;
} __attribute__((packed));

/* What a walk over one area of options found. */
struct dhcp_found {
	__u32 type; /* enum tap_dhcp; 0: not found */
	__u32 overload; /* DHCP_OVERLOAD_ bits */
};

/* 1 for 0, 0 for the rest, without a branch. */
static __always_inline __u32 is_zero(__u8 byte)
{
	return ((__u32)byte - 1) >> 31;
}

/*
 * RFC 2132 section 2: options are code, length, value; pads and the end have
 * no length. Nothing that is looked for fits into the last two bytes. `end` is
 * at most DHCP_SEARCH_BYTES, so that no offset wraps.
 *
 * The loop is written for verifiers, which keep every branch that is still to
 * be tried: few branches, and `offset` in memory that they know nothing about.
 * In a register each way through an iteration would be a state of its own.
 */
static __always_inline void dhcp_walk(const struct __sk_buff *skb, volatile __u16 *offset,
				      __u32 end, const int steps, struct dhcp_found *found)
{
	void *data = (void *)(long)skb->data;
	void *data_end = (void *)(long)skb->data_end;

	for (int i = 0; i < steps; i++) {
		__u64 at = *offset % SLOW_LINEAR_BYTES;
		__u8 *option = data + at;

		if ((void *)(option + 3) > data_end || at + 3 > end)
			return;
		if ((__u8)(option[0] - DHCP_OPTION_END) < 2) {
			if (option[0] == DHCP_OPTION_END)
				return;
			*offset = at + 1 + is_zero(option[1]);
			continue;
		}
		*offset = at + 2 + option[1];
		if ((option[0] & ~1) != DHCP_OPTION_OVERLOAD || option[1] == 0)
			continue;
		if (option[0] == DHCP_OPTION_OVERLOAD) {
			found->overload = option[2];
		} else {
			found->type = option[2];
			return;
		}
	}
}

/*
 * The message type, wherever option 53 stands; RFC 2131 section 4.1 for the
 * order of the areas. `bootp` and `end` are offsets from skb->data. Not static:
 * a global function is verified once, not once for each way that leads to it.
 */
__noinline __u32 dhcp_search_type(struct __sk_buff *skb, __u32 bootp, __u32 end)
{
	struct dhcp_found found = {};
	volatile __u16 *offset = scratch_offset();
	__u32 overload;

	if (!offset)
		return TAP_DHCP_OTHER;
	if (end > DHCP_SEARCH_BYTES)
		end = DHCP_SEARCH_BYTES;
	*offset = bootp + DHCP_OPTIONS_OFFSET;
	dhcp_walk(skb, offset, end, DHCP_OPTION_STEPS, &found);
	/* Only here: option 52 inside of `file` or `sname` sends nobody anywhere. */
	overload = found.overload;
	if (!found.type && (overload & DHCP_OVERLOAD_FILE)) {
		*offset = bootp + DHCP_FILE_OFFSET;
		dhcp_walk(skb, offset, bootp + DHCP_COOKIE_OFFSET,
			  DHCP_COOKIE_OFFSET - DHCP_FILE_OFFSET, &found);
	}
	if (!found.type && (overload & DHCP_OVERLOAD_SNAME)) {
		*offset = bootp + DHCP_SNAME_OFFSET;
		dhcp_walk(skb, offset, bootp + DHCP_FILE_OFFSET,
			  DHCP_FILE_OFFSET - DHCP_SNAME_OFFSET, &found);
	}
	return found.type < TAP_DHCP_TYPES ? found.type : TAP_DHCP_OTHER;
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

static __always_inline void frame_read_dhcp(struct __sk_buff *skb, struct frame *frame)
{
	struct cursor cursor = cursor_at(skb, frame->l3_offset);
	struct iphdr *ip = cursor_take(&cursor, struct iphdr);
	__u32 ip_bytes, udp_bytes, offset, end;
	struct udphdr *udp;

	if (!ip || ip->version != 4 || ip->ihl < 5 || ip->protocol != IPPROTO_UDP ||
	    (ip->frag_off & bpf_htons(0x1fff)))
		return;
	offset = frame->l3_offset + ip->ihl * 4;
	ip_bytes = bpf_ntohs(ip->tot_len);
	cursor = cursor_at(skb, offset);
	udp = cursor_take(&cursor, struct udphdr);
	if (!udp || !(is_dhcp_port(udp->source) || is_dhcp_port(udp->dest)))
		return;
	udp_bytes = bpf_ntohs(udp->len);
	end = offset + udp_bytes;
	/* A total length of 0 is what segmentation offload leaves. */
	if (ip_bytes && end > frame->l3_offset + ip_bytes)
		end = frame->l3_offset + ip_bytes;
	/* An empty datagram is no message. */
	if (end <= offset + sizeof(*udp) || !cursor_take(&cursor, __u8))
		return;
	frame->is_dhcp = true;
	frame->dhcp = dhcp_type(skb, offset + sizeof(*udp), end);
}

/*
 * Bytes of IP and transport header at `offset`, or 0 where they are of a kind
 * that is not known here; *udp_port is the destination of a UDP datagram.
 */
static __always_inline __u32 ip_header_bytes(const struct __sk_buff *skb, __u32 offset,
					     __u16 ethertype, __u16 *udp_port)
{
	struct cursor cursor = cursor_at(skb, offset);
	struct ipv6hdr *ip6;
	struct tcphdr *tcp;
	struct udphdr *udp;
	struct iphdr *ip;
	__u32 bytes;
	__u8 protocol;

	*udp_port = 0;
	if (ethertype == ETH_P_IP) {
		ip = cursor_take(&cursor, struct iphdr);
		if (!ip || ip->ihl < 5)
			return 0;
		bytes = ip->ihl * 4;
		protocol = ip->protocol;
	} else if (ethertype == ETH_P_IPV6) {
		ip6 = cursor_take(&cursor, struct ipv6hdr);
		if (!ip6)
			return 0;
		bytes = sizeof(*ip6);
		protocol = ip6->nexthdr;
	} else {
		return 0;
	}
	cursor = cursor_at(skb, offset + bytes);
	if (protocol == IPPROTO_TCP) {
		tcp = cursor_take(&cursor, struct tcphdr);
		return tcp ? bytes + tcp->doff * 4 : 0;
	}
	if (protocol == IPPROTO_UDP) {
		udp = cursor_take(&cursor, struct udphdr);
		if (!udp)
			return 0;
		*udp_port = bpf_ntohs(udp->dest);
		return bytes + sizeof(*udp);
	}
	return 0;
}

/* Headers that every segment of a tunnelled super-frame repeats, from `offset` on. */
static __always_inline __u32 tunnel_header_bytes(const struct __sk_buff *skb, __u32 offset,
						 __u16 udp_port)
{
	struct cursor cursor = cursor_at(skb, offset);
	__u8 *first = cursor_take(&cursor, __u8);
	__u32 bytes = TUNNEL_HEADER_BYTES;
	struct mac_header *mac;
	__u32 inner;
	__u16 port;

	if (!first)
		return 0;
	if (udp_port == GENEVE_PORT)
		bytes += (*first & 0x3f) * 4; /* RFC 8926 section 3.4 */
	cursor = cursor_at(skb, offset + bytes);
	mac = cursor_take(&cursor, struct mac_header);
	if (!mac)
		return 0;
	bytes += sizeof(*mac);
	inner = ip_header_bytes(skb, offset + bytes, bpf_ntohs(mac->type), &port);
	return bytes + inner;
}

/*
 * What the largest segment occupies on the wire. A super-frame is headers once
 * and then many times gso_size; headers of an unknown kind count as nothing, so
 * that a doubt is never an alarm.
 */
static __noinline __u32 gso_wire_bytes(struct __sk_buff *skb, __u32 l3_offset, __u16 ethertype)
{
	__u16 udp_port;
	__u32 bytes;

	frame_make_linear(skb, 256);
	bytes = ip_header_bytes(skb, l3_offset, ethertype, &udp_port);
	if (udp_port == VXLAN_PORT || udp_port == GENEVE_PORT)
		bytes += tunnel_header_bytes(skb, l3_offset + bytes, udp_port);
	return l3_offset + bytes + skb->gso_size;
}

/* All of a frame that is not plain. */
static __always_inline void frame_read(struct __sk_buff *skb, struct frame *frame)
{
	frame_make_linear(skb, SLOW_LINEAR_BYTES);
	frame_read_tags(skb, frame);
	if (is_llc(frame->ethertype))
		frame_read_llc(skb, frame);
	if (frame->ethertype == ETH_P_IP)
		frame_read_dhcp(skb, frame);
	else if (frame->ethertype == ETH_P_STP)
		frame_read_bare_stp(skb, frame);
}

#endif
