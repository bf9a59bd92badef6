/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Evidence of tags and sizes: a row for each device, direction and pair of tags.
 *
 * Guests choose their tags. So a device's rows are bounded, and what finds no room
 * is counted in one row more, the rest's: a guest that goes through all VIDs fills
 * its own room and nobody else's. A kernel may have no memory for a row at once: then
 * too a frame is the rest's, or counted as lost, and the next one asks again. Per CPU
 * and plain, as count_kern.h; of the clock the same holds as in clock_kern.h.
 */
#ifndef TAP_PAIR_KERN_H
#define TAP_PAIR_KERN_H

#include "count_kern.h"
#include "port_kern.h"

#define TCI_VID 0x0fff /* IEEE 802.1Q-2018 section 9.6: above it are priority and DEI */

/* The tag at the cursor, whose TPID came before it, as a key has it; moves past it. */
static __always_inline __u32 pair_take_tag(struct cursor *cursor, __be16 *tpid)
{
	struct vlan_tag *tag = cursor_take(cursor, struct vlan_tag);
	__u32 found;

	if (!tag)
		return 0;
	found = (__u32)bpf_ntohs(*tpid) << 16 | (bpf_ntohs(tag->tci) & TCI_VID);
	*tpid = tag->type;
	return found;
}

/* The two outermost of the frame's `tags`, of which metadata holds the outer one, if any. */
static __always_inline void pair_read(const struct __sk_buff *skb, __u32 tags,
				      struct tap_pair_key *key)
{
	struct cursor cursor = cursor_at(skb, 0);
	struct mac_header *mac = cursor_take(&cursor, struct mac_header);
	__be16 tpid;

	if (!mac || !tags)
		return;
	tpid = mac->type;
	if (skb->vlan_present)
		key->outer = (__u32)bpf_ntohs(skb->vlan_proto) << 16 | (skb->vlan_tci & TCI_VID);
	else
		key->outer = pair_take_tag(&cursor, &tpid);
	if (tags > 1)
		key->inner = pair_take_tag(&cursor, &tpid);
}

/* A row with nothing in it. False: there is no room, or another CPU made it first. */
static __always_inline bool pair_make(const struct tap_pair_key *key)
{
	struct tap_pair nothing = {};

	return pair_add(key, &nothing);
}

/* The key's own row, made where the slot has room; NULL: there is none. */
static __always_inline struct tap_pair *pair_own(const struct tap_pair_key *key, __u32 slot,
						 __u32 most)
{
	struct tap_pair *pair = pair_get(key);
	__u32 *room;

	if (pair)
		return pair;
	room = pair_room_at(slot);
	if (!room || *room >= most)
		return 0;
	/* Added first and looked at then: CPUs that race never exceed the bound together. */
	__sync_fetch_and_add(room, 1);
	if (*(volatile __u32 *)room > most || !pair_make(key))
		__sync_fetch_and_add(room, -1);
	return pair_get(key);
}

/* The row of all that have none, which becomes the key's; NULL: the map is full. */
static __always_inline struct tap_pair *pair_rest(struct tap_pair_key *key)
{
	struct tap_pair *pair;

	key->outer = key->inner = TAP_PAIR_REST;
	pair = pair_get(key);
	if (pair)
		return pair;
	pair_make(key);
	return pair_get(key);
}

static __always_inline __u64 excess_kind(__u32 excess_bytes)
{
	if (excess_bytes <= VLAN_TAG_BYTES)
		return TAP_EXCESS_TAG;
	if (excess_bytes <= 2 * VLAN_TAG_BYTES)
		return TAP_EXCESS_TWO_TAGS;
	return excess_bytes <= 50 ? TAP_EXCESS_TUNNEL : TAP_EXCESS_MORE;
}

static __always_inline void pair_add_excess(struct tap_pair *pair, __u32 excess_bytes)
{
	__u64 kind = excess_kind(excess_bytes);

	pair->oversized++;
	pair->oversized_ns = pair->last_ns;
	if (!pair->smallest_excess_bytes || excess_bytes < pair->smallest_excess_bytes)
		pair->smallest_excess_bytes = excess_bytes;
	if (excess_bytes > pair->largest_excess_bytes)
		pair->largest_excess_bytes = excess_bytes;
	forget_bound(kind);
	if (kind < TAP_EXCESSES)
		pair->excess[kind]++;
}

static __always_inline void pair_add_frame(const struct __sk_buff *skb, struct tap_pair *pair,
					   const struct frame *frame, __u32 mtu_bytes)
{
	__u64 now_ticks = bpf_jiffies64();

	if (pair->last_ticks != now_ticks) {
		pair->last_ticks = now_ticks;
		pair->last_ns = bpf_ktime_get_ns();
		if (!pair->frames)
			pair->first_ns = pair->last_ns;
	}
	pair->frames++;
	pair->bytes += frame_bytes(skb);
	if (frame->wire_bytes > pair->largest_wire_bytes)
		pair->largest_wire_bytes = frame->wire_bytes;
	if (is_oversized(frame, mtu_bytes))
		pair_add_excess(pair, path_bytes(frame) - mtu_bytes);
}

/* A function by itself, of numbers alone: a verifier goes through it once. */
__noinline __u32 pair_count(struct __sk_buff *skb, __u32 slot, __u32 direction, __u32 wire_bytes,
			    __u32 tags)
{
	struct tap_pair_key key = { .ifindex = skb->ifindex, .direction = direction };
	struct frame frame = { .wire_bytes = wire_bytes, .tags = tags };
	struct tap_port *port = port_at(slot);
	struct tap_pair *pair;
	struct tap_state *state;

	if (!port)
		return 0;
	pair_read(skb, tags, &key);
	pair = pair_own(&key, slot,
			port->role == TAP_ROLE_UPLINK ? TAP_PAIRS_PER_UPLINK : TAP_PAIRS_PER_PORT);
	if (!pair)
		pair = pair_rest(&key);
	if (pair) {
		pair_add_frame(skb, pair, &frame, port->mtu_bytes);
		return 0;
	}
	state = state_get();
	if (state)
		__sync_fetch_and_add(&state->pairs_lost, 1);
	return 0;
}

/* What of a frame that is not ordinary is evidence: its tags, or that it is too large. */
static __always_inline void pair_see(struct __sk_buff *skb, const struct port_ref *ref,
				     enum tap_direction direction, const struct frame *frame)
{
	if (frame->tags || is_oversized(frame, ref->port->mtu_bytes))
		pair_count(skb, ref->slot, direction, frame->wire_bytes, frame->tags);
}

#endif
