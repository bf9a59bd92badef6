// SPDX-License-Identifier: GPL-2.0-only
/*
 * A socket filter that keeps nothing and counts everything: the AF_PACKET socket
 * it sits on never queues a frame, so none can be missed for want of a buffer.
 *
 * The key is what tells frames apart and no more: both addresses, the tags, and
 * for an 802.3 frame the LLC and SNAP headers with the first bytes behind. It
 * does not know what a BPDU is; wire.py does, in plain Python.
 */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#define MAX_TAGS 4
#define LLC_BYTES 12
#define PACKET_OUTGOING 4

struct wire_key {
	unsigned char dst[6];
	unsigned char src[6];
	unsigned char tags[MAX_TAGS][4]; /* as on the wire, outermost first */
	unsigned char type[2];
	unsigned char llc[LLC_BYTES]; /* zero unless type is a length */
	unsigned char tag_count;
	unsigned char outgoing;
};

struct wire_value {
	__u64 frames;
	__u64 bytes;
	__u64 super_frames;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct wire_key);
	__type(value, struct wire_value);
} counted SEC(".maps");

/* Frames that found the table full. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} uncounted SEC(".maps");

static __always_inline int is_tag(unsigned char high, unsigned char low)
{
	return (high == 0x81 && low == 0x00) || (high == 0x88 && low == 0xa8) ||
	       (high == 0x91 && low == 0x00);
}

SEC("socket")
int count_frame(struct __sk_buff *skb)
{
	struct wire_key key = {};
	struct wire_value first = {}, *value;
	__u32 at = 12, zero = 0, length_bytes = skb->len;
	__u64 *missed;

	key.outgoing = skb->pkt_type == PACKET_OUTGOING;
	bpf_skb_load_bytes(skb, 0, key.dst, 12);

	/* The kernel has moved the outermost tag from the bytes into the skb. */
	if (skb->vlan_present) {
		__u16 proto = skb->vlan_proto, tci = skb->vlan_tci;

		__builtin_memcpy(key.tags[0], &proto, 2);
		key.tags[0][2] = tci >> 8;
		key.tags[0][3] = tci;
		key.tag_count = 1;
		length_bytes += 4;
	}
	bpf_skb_load_bytes(skb, at, key.type, 2);
#pragma unroll
	for (int i = 0; i < MAX_TAGS; i++) {
		if (i < key.tag_count || !is_tag(key.type[0], key.type[1]))
			continue;
		bpf_skb_load_bytes(skb, at, key.tags[i], 4);
		key.tag_count = i + 1;
		at += 4;
		key.type[0] = key.type[1] = 0;
		bpf_skb_load_bytes(skb, at, key.type, 2);
	}
	if (key.type[0] < 6) {
		__u32 behind = skb->len > at + 2 ? skb->len - at - 2 : 0;

		if (behind >= LLC_BYTES)
			bpf_skb_load_bytes(skb, at + 2, key.llc, LLC_BYTES);
		else if (behind >= 8)
			bpf_skb_load_bytes(skb, at + 2, key.llc, 8);
		else if (behind >= 3)
			bpf_skb_load_bytes(skb, at + 2, key.llc, 3);
	}

	value = bpf_map_lookup_elem(&counted, &key);
	if (!value) {
		bpf_map_update_elem(&counted, &key, &first, BPF_NOEXIST);
		value = bpf_map_lookup_elem(&counted, &key);
	}
	if (value) {
		__sync_fetch_and_add(&value->frames, 1);
		__sync_fetch_and_add(&value->bytes, length_bytes);
		if (skb->gso_size)
			__sync_fetch_and_add(&value->super_frames, 1);
	} else {
		missed = bpf_map_lookup_elem(&uncounted, &zero);
		if (missed)
			__sync_fetch_and_add(missed, 1);
	}
	return 0;
}

char _license[] SEC("license") = "GPL";
