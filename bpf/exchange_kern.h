/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Whose answers are expected. A client's message that was told opens an
 * exchange: transaction and client's MAC lead to the port that it came from. So
 * an answer is known for that port's wherever it is seen, and what others are
 * answered, however much that is, takes no room from it.
 *
 * Shared between CPUs and written without a lock: two that write one place at
 * once may make one answer unexpected, or one that is another port's.
 */
#ifndef TAP_EXCHANGE_KERN_H
#define TAP_EXCHANGE_KERN_H

#include "parse_kern.h"
#include "port_kern.h"

#define HASH_FACTOR 0x9e3779b97f4a7c15ULL /* 2^64 by the golden ratio */
#define HASH_SHIFT 48 /* the highest bits, on which all others have told */
#define DHCP6_XID_MASK bpf_htonl(0x00ffffff) /* RFC 8415 section 8: behind the type */

/* Of a BOOTP message what is looked at here, RFC 2131 figure 1. */
struct bootp_header {
	__u8 op;
	__u8 hardware[3];
	__be32 xid;
	__u8 between[20];
	__u32 mac_first; /* chaddr, of 16 bytes */
	__u16 mac_last;
	__u8 mac_rest[10];
};

/* The addresses of a frame in words that stand where words may. */
struct mac_words {
	__u32 to_first;
	__u16 to_last;
	__u16 from_first;
	__u32 from_last;
};

static __always_inline bool exchange_key4(const struct __sk_buff *skb, __u32 found,
					  struct exchange_key *key)
{
	struct cursor cursor = cursor_at(skb, found_offset(found));
	struct bootp_header *bootp = cursor_take(&cursor, struct bootp_header);

	if (!bootp)
		return false;
	key->xid = bootp->xid;
	key->mac_first = bootp->mac_first;
	key->mac_last = bootp->mac_last;
	key->family = 4;
	return true;
}

/* Relays' messages have no transaction (RFC 8415 section 9). */
static __always_inline bool exchange_key6(const struct __sk_buff *skb, __u32 found,
					  struct exchange_key *key)
{
	struct cursor start = cursor_at(skb, 0), cursor = cursor_at(skb, found_offset(found));
	struct mac_words *mac = cursor_take(&start, struct mac_words);
	__be32 *first = cursor_take(&cursor, __be32);
	__u32 type = found_type(found) - TAP_MESSAGE_DHCP6;
	__u64 client;

	if (!mac || !first || type == TAP_DHCP6_RELAY_FORW || type == TAP_DHCP6_RELAY_REPL)
		return false;
	client = found & FOUND_SERVER ? mac->to_first | (__u64)mac->to_last << 32
				      : mac->from_first | (__u64)mac->from_last << 16;
	key->xid = *first & DHCP6_XID_MASK;
	key->mac_first = client;
	key->mac_last = client >> 32;
	key->family = 6;
	return true;
}

/* False for a message that belongs to no exchange: a relay's, one that is cut off. */
static __always_inline bool exchange_key(const struct __sk_buff *skb, __u32 found,
					 struct exchange_key *key)
{
	return found_type(found) < TAP_MESSAGE_DHCP6 ? exchange_key4(skb, found, key)
						     : exchange_key6(skb, found, key);
}

static __always_inline struct exchange_set *exchange_set(const struct exchange_key *key)
{
	__u64 hash = ((__u64)key->mac_first << 32 | key->xid) * HASH_FACTOR;

	hash ^= hash >> 32;
	hash = (hash ^ key->mac_last ^ key->family << 16) * HASH_FACTOR;
	return exchange_set_at(hash >> HASH_SHIFT);
}

static __always_inline bool exchange_is(const struct exchange *exchange,
					const struct exchange_key *key)
{
	return exchange->key.xid == key->xid && exchange->key.mac_first == key->mac_first &&
	       exchange->key.mac_last == key->mac_last && exchange->key.family == key->family;
}

/* Whether the port that asked is still there. */
static __always_inline bool exchange_waits(const struct exchange *exchange)
{
	struct tap_port *port = port_at(exchange->slot);

	return port && port->ifindex == exchange->ifindex;
}

/* The exchange of a message, or NULL: none, or of a port that is gone. */
static __always_inline struct exchange *exchange_of(const struct __sk_buff *skb, __u32 found)
{
	struct exchange_set *set;
	struct exchange_key key;

	if (!exchange_key(skb, found, &key))
		return 0;
	set = exchange_set(&key);
	if (!set)
		return 0;
#pragma unroll
	for (int way = 0; way < EXCHANGE_WAYS; way++) {
		if (exchange_is(&set->ways[way], &key))
			return exchange_waits(&set->ways[way]) ? &set->ways[way] : 0;
	}
	return 0;
}

/*
 * How well a place suits a new exchange of a port: an empty one, then the oldest
 * of its own and of those that nobody waits for any more, then any.
 */
static __always_inline __u64 exchange_suits(const struct exchange *exchange, __u32 slot,
					    __u32 now_ticks, __u64 wait_ticks)
{
	__u32 age_ticks = now_ticks - exchange->asked_ticks;

	if (!exchange->key.family)
		return 2ULL << 32;
	if (exchange->slot == slot || age_ticks >= wait_ticks)
		return 1ULL << 32 | age_ticks;
	return age_ticks;
}

/*
 * A client asked, and it was told. What another port has asked stays its own: a
 * guest that repeats its neighbour's broadcast takes no answers from it, and one
 * that looks for keys of the same hash drives out none but its own.
 */
static __always_inline void exchange_open(const struct __sk_buff *skb, __u32 found, __u32 slot,
					  __u64 wait_ticks)
{
	__u64 best = 0, suits, chosen = 0;
	__u32 now_ticks = bpf_jiffies64();
	struct exchange *exchange;
	struct exchange_set *set;
	struct exchange_key key;

	if (!exchange_key(skb, found, &key))
		return;
	set = exchange_set(&key);
	if (!set)
		return;
#pragma unroll
	for (int way = 0; way < EXCHANGE_WAYS; way++) {
		exchange = &set->ways[way];
		suits = exchange_suits(exchange, slot, now_ticks, wait_ticks);
		if (exchange_is(exchange, &key)) {
			if (exchange->slot != slot && exchange_waits(exchange))
				return;
			suits = 3ULL << 32;
		}
		if (suits >= best) {
			best = suits;
			chosen = way;
		}
	}
	exchange = &set->ways[chosen % EXCHANGE_WAYS];
	exchange->key.family = 0;
	exchange->slot = slot;
	exchange->ifindex = skb->ifindex;
	exchange->asked_ticks = now_ticks;
	exchange->answers[EXCHANGE_AT_PORT] = 0;
	exchange->answers[EXCHANGE_AT_UPLINK] = 0;
	exchange->key = key;
}

/*
 * Whether one answer more is to be told. Half of them at ports and half at
 * uplinks: a flood of answers at one place hides nothing at the other.
 */
static __always_inline bool exchange_answer(struct exchange *exchange, enum exchange_place place)
{
	if (exchange->answers[place] >= TAP_MAX_ANSWERS / EXCHANGE_PLACES)
		return false;
	__sync_fetch_and_add(&exchange->answers[place], 1);
	return true;
}

#endif
