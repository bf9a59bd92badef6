/* SPDX-License-Identifier: GPL-2.0-only */
/* What a segment of a super-frame occupies on the wire. */
#ifndef TAP_GSO_KERN_H
#define TAP_GSO_KERN_H

#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>

#include "cursor_kern.h"

#define VXLAN_PORT 4789
#define GENEVE_PORT 6081
#define TUNNEL_HEADER_BYTES 8 /* VXLAN's, and Geneve's without its options */

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
__noinline __u32 gso_wire_bytes(struct __sk_buff *skb, __u32 l3_offset, __u32 ethertype)
{
	__u16 udp_port;
	__u32 bytes;

	bytes = ip_header_bytes(skb, l3_offset, ethertype, &udp_port);
	if (udp_port == VXLAN_PORT || udp_port == GENEVE_PORT)
		bytes += tunnel_header_bytes(skb, l3_offset + bytes, udp_port);
	return l3_offset + bytes + skb->gso_size;
}

#endif
