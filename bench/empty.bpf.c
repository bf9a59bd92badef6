// SPDX-License-Identifier: GPL-2.0-only
/* The least a tc program can be: what the cost of a frame is measured against. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("tc")
int empty(struct __sk_buff *skb)
{
	return -1;
}

char LICENSE[] SEC("license") = "GPL";
