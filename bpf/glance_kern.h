/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The way of nearly all traffic: whether anything but its size could matter
 * about a frame. Leans to "closer": what it is in doubt about is read in full.
 */
#ifndef TAP_GLANCE_KERN_H
#define TAP_GLANCE_KERN_H

#include "parse_kern.h"

enum glance {
	GLANCE_CLOSER, /* a tag, LLC, DHCP, or something that may hide it */
	GLANCE_PLAIN,
	GLANCE_QUIET, /* plain, and housekeeping: see clock_kern.h */
};

#define IP4_WITHOUT_OPTIONS 0x45 /* version and header length */

static __always_inline enum glance glance_ip4(struct cursor cursor)
{
	__u8 *version = cursor.at;
	struct iphdr *ip = cursor_take(&cursor, struct iphdr);
	struct udphdr *udp;

	if (!ip)
		return GLANCE_CLOSER;
	if (ip->protocol != IPPROTO_UDP)
		return ip->protocol == IPPROTO_IGMP ? GLANCE_QUIET : GLANCE_PLAIN;
	udp = cursor_take(&cursor, struct udphdr);
	if (!udp || *version != IP4_WITHOUT_OPTIONS)
		return GLANCE_CLOSER;
	return is_dhcp_port(udp->source) || is_dhcp_port(udp->dest) ? GLANCE_CLOSER : GLANCE_PLAIN;
}

static __always_inline enum glance glance_ip6(struct cursor cursor)
{
	struct ipv6hdr *ip = cursor_take(&cursor, struct ipv6hdr);
	struct udphdr *udp;

	if (!ip)
		return GLANCE_CLOSER;
	if (ip->nexthdr == IPPROTO_TCP)
		return GLANCE_PLAIN;
	udp = cursor_take(&cursor, struct udphdr);
	if (!udp || ip->version != 6)
		return GLANCE_CLOSER;
	if (ip->nexthdr == IPPROTO_UDP)
		return is_dhcp6_port(udp->source) || is_dhcp6_port(udp->dest) ? GLANCE_CLOSER
									      : GLANCE_PLAIN;
	if (ip->nexthdr == IPPROTO_ICMPV6)
		return is_quiet_icmp6(*(__u8 *)udp) ? GLANCE_QUIET : GLANCE_PLAIN;
	return is_ip6_extension(ip->nexthdr) ? GLANCE_CLOSER : GLANCE_PLAIN;
}

static __always_inline enum glance frame_glance(const struct __sk_buff *skb)
{
	struct cursor cursor = cursor_at(skb, 0);
	struct mac_header *mac = cursor_take(&cursor, struct mac_header);

	if (!mac || skb->vlan_present)
		return GLANCE_CLOSER;
	if (mac->type == bpf_htons(ETH_P_IP))
		return glance_ip4(cursor);
	if (mac->type == bpf_htons(ETH_P_IPV6))
		return glance_ip6(cursor);
	return mac->type == bpf_htons(ETH_P_ARP) ? GLANCE_QUIET : GLANCE_CLOSER;
}

#endif
