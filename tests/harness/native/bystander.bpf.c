// SPDX-License-Identifier: GPL-2.0-only
/* Somebody else's program on a device: counts what it sees and lets it go on. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} seen SEC(".maps");

SEC("tc")
int bystander(struct __sk_buff *skb)
{
	__u32 first = 0;
	__u64 *frames = bpf_map_lookup_elem(&seen, &first);

	if (frames)
		__sync_fetch_and_add(frames, 1);
	return -1; /* TCX_NEXT */
}

char LICENSE[] SEC("license") = "GPL";
