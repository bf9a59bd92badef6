/* SPDX-License-Identifier: GPL-2.0-only */
/* DHCP over IPv6: which frame is a message, and of which type. RFC 8415. */
#ifndef TAP_DHCP6_KERN_H
#define TAP_DHCP6_KERN_H

#include <linux/udp.h>

#include "found_kern.h"
#include "ip6_kern.h"

#define DHCP6_CLIENT_PORT 546 /* RFC 8415 section 7.2; servers and relays: 547 */

static __always_inline bool is_dhcp6_port(__be16 port)
{
	return (__u16)(bpf_ntohs(port) - DHCP6_CLIENT_PORT) < 2;
}

/* RFC 8415 section 7.3: what goes from servers to clients and relays. */
static __always_inline bool is_dhcp6_server(__u8 type)
{
	return type == TAP_DHCP6_ADVERTISE || type == TAP_DHCP6_REPLY ||
	       type == TAP_DHCP6_RECONFIGURE || type == TAP_DHCP6_RELAY_REPL;
}

static __always_inline __u32 dhcp6_found(__u8 type, __u32 offset)
{
	__u32 found = TAP_MESSAGE_DHCP6 + (type < TAP_DHCP6_TYPES ? type : TAP_DHCP6_OTHER);

	if (is_dhcp6_server(type))
		found |= FOUND_SERVER;
	return found | FOUND_QUIET | offset << FOUND_OFFSET_SHIFT;
}

/* A datagram at `offset`; `packet_end` is where its packet ends, 0 if that is not said. */
static __always_inline __u32 dhcp6_datagram(struct __sk_buff *skb, __u32 offset, __u32 packet_end)
{
	struct cursor cursor = cursor_at(skb, offset);
	struct udphdr *udp;
	__u32 bytes;
	__u8 *type;

	if (offset + sizeof(*udp) > IP6_SEARCH_BYTES)
		return FOUND_NOTHING;
	udp = cursor_take(&cursor, struct udphdr);
	if (!udp || !(is_dhcp6_port(udp->source) || is_dhcp6_port(udp->dest)))
		return FOUND_NOTHING;
	type = cursor_take(&cursor, __u8);
	bytes = bpf_ntohs(udp->len);
	/* A length of 0 is that of a jumbogram (RFC 2675), and of nothing else known. */
	if (!type || (bytes && bytes <= sizeof(*udp)) ||
	    (packet_end && packet_end <= offset + sizeof(*udp)))
		return FOUND_NOTHING;
	return dhcp6_found(*type, offset + sizeof(*udp));
}

/* A packet with an IPv6 header at `l3_offset`: as found_kern.h has it. */
static __always_inline __u32 ip6_read(struct __sk_buff *skb, __u32 l3_offset)
{
	__u64 payload = ip6_payload(skb, l3_offset);
	__u32 offset = ip6_offset(payload), packet_end;
	struct cursor cursor;
	struct ipv6hdr *ip;
	__u8 *icmp_type;

	if ((payload & 0xff) == IPPROTO_ICMPV6) {
		cursor = cursor_at(skb, offset);
		icmp_type = cursor_take(&cursor, __u8);
		if (offset < IP6_SEARCH_BYTES && icmp_type && is_quiet_icmp6(*icmp_type))
			return FOUND_NOTHING | FOUND_QUIET;
		return FOUND_NOTHING;
	}
	if ((payload & 0xff) != IPPROTO_UDP)
		return FOUND_NOTHING;
	cursor = cursor_at(skb, l3_offset);
	ip = cursor_take(&cursor, struct ipv6hdr);
	if (!ip)
		return FOUND_NOTHING;
	packet_end = bpf_ntohs(ip->payload_len);
	/* Only behind hop-by-hop options is a length of 0 one that is not said (RFC 2675). */
	if (packet_end || ip->nexthdr != IPPROTO_HOPOPTS)
		packet_end += l3_offset + sizeof(*ip);
	return dhcp6_datagram(skb, offset, packet_end);
}

#endif
