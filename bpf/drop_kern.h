/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A frame that the kernel threw away: whose it was, and its row in tap_losses.
 *
 * The kernel's own types, where only the members that are read are named; where
 * they lie in the running kernel is put in when the program is loaded (CO-RE).
 */
#ifndef TAP_DROP_KERN_H
#define TAP_DROP_KERN_H

#include "port_kern.h"

/* More than any header in front of what a layer has read; see dropped_bytes(). */
#define DROP_BEHIND_BYTES 1024

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct ns_common {
	unsigned int inum;
};

struct net {
	struct ns_common ns;
};

struct net_device {
	int ifindex;
	struct {
		struct net *net;
	} nd_net;
};

struct sk_buff {
	struct net_device *dev;
	int skb_iif;
	unsigned int len;
	__u16 mac_header;
	unsigned char *head;
	unsigned char *data;
};

#pragma clang attribute pop

static const char drop_symbol_format[] = "%ps";

/*
 * The whole frame, as tap_counters.bytes has it, but for a tag in metadata: layers
 * strip what they have read. A frame that has not got its Ethernet header yet is
 * counted as it is.
 */
static __always_inline __u32 dropped_bytes(const struct sk_buff *skb)
{
	__u64 behind = (__u64)skb->data - (__u64)skb->head - skb->mac_header;

	return skb->len + (behind <= DROP_BEHIND_BYTES ? (__u32)behind : 0);
}

/*
 * port_find() for devices that mostly are no ports, without a hash for those: only
 * from a slot that a port has or had (its MTU is still there) was another sent away.
 */
static __always_inline bool drop_is_at_port(__u32 ifindex)
{
	const struct tap_port *home = port_at(ifindex % TAP_MAX_PORTS);
	struct port_ref ref;

	if (!home)
		return false;
	if (home->ifindex == ifindex)
		return true;
	return (home->ifindex || home->mtu_bytes) && port_find(ifindex, &ref);
}

static __always_inline bool drop_is_watched(__u32 at, __u32 from)
{
	return drop_is_at_port(at) || (from && from != at && drop_is_at_port(from));
}

/* Out of line: once for each row. */
static __noinline void loss_begin(const struct tap_loss_key *key, __u32 bytes, __u32 now_ticks)
{
	__u64 now_ns = bpf_ktime_get_ns();
	struct tap_loss loss = {
		.frames = 1,
		.bytes = bytes,
		.first_ns = now_ns,
		.last_ns = now_ns,
		.largest_bytes = bytes,
		.last_ticks = now_ticks,
	};
	struct tap_loss_state *state;
	struct tap_loss *other;
	__u64 location;

	if (!key)
		return;
	location = key->location;
	/* In the kernel: user space would need CAP_SYSLOG and megabytes for it. */
	bpf_snprintf(loss.symbol, sizeof(loss.symbol), drop_symbol_format, &location,
		     sizeof(location));
	if (loss_add(key, &loss))
		return;
	other = loss_get(key);
	if (other) {
		__sync_fetch_and_add(&other->frames, 1);
		__sync_fetch_and_add(&other->bytes, bytes);
		return;
	}
	state = loss_state_get();
	if (state)
		__sync_fetch_and_add(&state->unlisted, 1);
}

/*
 * Runs for every drop on the host. What `dev` points to may be no device: sockets
 * keep other things there while a frame waits in one of their queues. Such a load
 * reads anything or 0 and harms nothing, and no number of a namespace comes of it.
 */
static __always_inline void drop_count(const struct sk_buff *skb, __u64 location, __u32 reason)
{
	const struct tap_loss_state *state = loss_state_get();
	const struct net_device *dev = skb->dev;
	struct tap_loss_key key = { .location = location, .reason = reason };
	struct tap_loss *loss;
	__u32 bytes, inum, now_ticks;

	/* Without a device it cannot be told which namespace an ifindex is of. */
	if (!dev || !state)
		return;
	inum = dev->nd_net.net->ns.inum;
	if (!inum || inum != state->netns_inum)
		return;
	key.at_ifindex = dev->ifindex;
	key.from_ifindex = skb->skb_iif;
	if (!drop_is_watched(key.at_ifindex, key.from_ifindex))
		return;
	bytes = dropped_bytes(skb);
	now_ticks = bpf_jiffies64();
	loss = loss_get(&key);
	if (!loss) {
		loss_begin(&key, bytes, now_ticks);
		return;
	}
	__sync_fetch_and_add(&loss->frames, 1);
	__sync_fetch_and_add(&loss->bytes, bytes);
	/* A clock is read once in a tick: it costs more than the rest. */
	if (loss->last_ticks != now_ticks) {
		loss->last_ticks = now_ticks;
		loss->last_ns = bpf_ktime_get_ns();
	}
	if (loss->largest_bytes < bytes)
		loss->largest_bytes = bytes;
}

#endif
