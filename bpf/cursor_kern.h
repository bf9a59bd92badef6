/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What every reader of a frame shares: a bounded cursor over its bytes.
 * A length that the frame states is believed only as far as the bytes reach.
 */
#ifndef TAP_CURSOR_KERN_H
#define TAP_CURSOR_KERN_H

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <stdbool.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "maps_kern.h"

#define SLOW_LINEAR_BYTES 2048 /* all that a slow path ever looks at */

/*
 * Makes the compiler forget what it knows of a value, so that a bound which it
 * could prove away stays in the code, where the verifier wants to see it.
 */
#define forget_bound(value) asm volatile("" : "+r"(value))

/*
 * Makes the verifier forget what it knows of a value: it does not relate what
 * is added to what is taken away again. Where ways through the code meet, they
 * then are one way and not as many as there are values. `unknown` is any 64-bit
 * number that only run time knows.
 */
#define forget_ways(value, unknown)                                                                \
	asm volatile("%0 += %1\n\t%0 -= %1" : "+r"(value) : "r"(unknown))

/* Bytes still ahead. `at` only moves forward, and only past checked bytes. */
struct cursor {
	void *at;
	void *end;
};

struct mac_header {
	__u8 to[ETH_ALEN];
	__u8 from[ETH_ALEN];
	__be16 type;
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

#endif
