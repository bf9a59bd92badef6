// SPDX-License-Identifier: Apache-2.0
/*
 * On a device inside a guest: what a DHCP server sends is never heard, by whatever
 * listens. Packet sockets hear before netfilter and tc, and only XDP comes first.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/udp.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define SERVER4 67
#define SERVER6 547

SEC("xdp")
int deaf(struct xdp_md *frame)
{
	void *end = (void *)(long)frame->data_end;
	struct ethhdr *ethernet = (void *)(long)frame->data;
	struct udphdr *datagram;

	if ((void *)(ethernet + 1) > end)
		return XDP_PASS;
	if (ethernet->h_proto == bpf_htons(ETH_P_IP)) {
		struct iphdr *packet = (void *)(ethernet + 1);

		if ((void *)(packet + 1) > end || packet->ihl != 5 || packet->protocol != IPPROTO_UDP)
			return XDP_PASS;
		datagram = (void *)(packet + 1);
	} else if (ethernet->h_proto == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *packet = (void *)(ethernet + 1);

		if ((void *)(packet + 1) > end || packet->nexthdr != IPPROTO_UDP)
			return XDP_PASS;
		datagram = (void *)(packet + 1);
	} else {
		return XDP_PASS;
	}
	if ((void *)(datagram + 1) > end)
		return XDP_PASS;
	if (datagram->source == bpf_htons(SERVER4) || datagram->source == bpf_htons(SERVER6))
		return XDP_DROP;
	return XDP_PASS;
}

char deaf_license[] SEC("license") = "GPL";
