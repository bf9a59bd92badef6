/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The maps, and the only file that knows how they are declared. Programs reach
 * them through the functions at the end. Every map is pinned by its name.
 */
#ifndef TAP_MAPS_KERN_H
#define TAP_MAPS_KERN_H

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <stdbool.h>
#include <bpf/bpf_helpers.h>

#include "abi_kern_user.h"

#define EXCHANGE_WAYS 4
#define EXCHANGE_SETS (TAP_MAX_EXCHANGES / EXCHANGE_WAYS)

enum exchange_place {
	EXCHANGE_AT_PORT,
	EXCHANGE_AT_UPLINK,
	EXCHANGE_PLACES,
};

/* Who is watched, and whose latch is set. Mapped into user space. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, TAP_MAX_PORTS);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct tap_port);
} tap_ports SEC(".maps");

/* Only for a port whose home slot, ifindex modulo TAP_MAX_PORTS, was taken. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, TAP_MAX_PORTS);
	__type(key, __u32); /* ifindex */
	__type(value, __u32); /* slot */
} tap_strays SEC(".maps");

/* At slot * TAP_DIRECTIONS + direction. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, TAP_MAX_PORTS *TAP_DIRECTIONS);
	__type(key, __u32);
	__type(value, struct tap_counters);
} tap_counts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct tap_config);
} tap_config SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct tap_state);
} tap_state SEC(".maps");

/* Offences in the running window, at slot * TAP_CHECKS + check. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, TAP_MAX_PORTS *TAP_CHECKS);
	__type(key, __u32);
	__type(value, struct tap_window);
} tap_windows SEC(".maps");

/* Events told in the running window, by slot. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, TAP_MAX_PORTS);
	__type(key, __u32);
	__type(value, struct tap_gate);
} tap_gates SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, TAP_RING_BYTES);
} tap_ring SEC(".maps");

/* Where a walk over DHCP options stands, on each CPU. Nothing of it outlives a frame. */
struct dhcp_walk {
	__u32 offset;
	__u32 end;
	__u32 type; /* enum tap_dhcp as it was found; 0: not yet */
	__u32 overload; /* option 52 */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct dhcp_walk);
} tap_walks SEC(".maps");

/* What a slot keeps about DHCP, by slot. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, TAP_MAX_PORTS);
	__type(key, __u32);
	__type(value, struct tap_talk);
} tap_talks SEC(".maps");

/* The DHCP messages themselves. A ring of their own: no offence can crowd them out. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, TAP_MESSAGE_RING_BYTES);
} tap_messages SEC(".maps");

/* What a client's message and its answers have in common. */
struct exchange_key {
	__u32 xid; /* these three as their bytes stand in the frame */
	__u32 mac_first; /* of the client's MAC four bytes */
	__u16 mac_last;
	__u16 family; /* 4 or 6; 0: nothing here */
};

struct exchange {
	struct exchange_key key;
	__u32 slot; /* of the port whose guest asked */
	__u32 ifindex; /* of that port; another one there by now: nobody waits any more */
	__u32 asked_ticks; /* the last time */
	__u32 answers[EXCHANGE_PLACES]; /* told since then */
};

/* All exchanges whose keys have the same hash. */
struct exchange_set {
	struct exchange ways[EXCHANGE_WAYS];
};

/* Whose answers are expected, by hash: a helper's hash costs more than all else here. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, EXCHANGE_SETS);
	__uint(map_flags, BPF_F_MMAPABLE); /* for tests: to empty it in one go */
	__type(key, __u32);
	__type(value, struct exchange_set);
} tap_exchanges SEC(".maps");

/* Answers told in the running window that nobody waited for, at all devices together. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct tap_gate);
} tap_strangers SEC(".maps");

/* Where a record of the message ring is written before it is told, on each CPU. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct tap_message);
} tap_drafts SEC(".maps");

/* Programs never touch the next two: they keep what outlives the daemon. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, TAP_MAX_PORTS);
	__type(key, __u32);
	__type(value, struct tap_cut);
} tap_cuts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, TAP_MAX_ORDERS);
	__type(value, struct tap_order);
} tap_orders SEC(".maps");

static __always_inline struct tap_port *port_at(__u32 slot)
{
	return bpf_map_lookup_elem(&tap_ports, &slot);
}

static __always_inline __u32 *stray_slot(__u32 ifindex)
{
	return bpf_map_lookup_elem(&tap_strays, &ifindex);
}

static __always_inline struct tap_counters *counters_at(__u32 slot, enum tap_direction direction)
{
	__u32 at = slot * TAP_DIRECTIONS + direction;

	return bpf_map_lookup_elem(&tap_counts, &at);
}

static __always_inline const struct tap_config *config_get(void)
{
	__u32 first = 0;

	return bpf_map_lookup_elem(&tap_config, &first);
}

static __always_inline struct tap_state *state_get(void)
{
	__u32 first = 0;

	return bpf_map_lookup_elem(&tap_state, &first);
}

static __always_inline volatile struct dhcp_walk *walk_get(void)
{
	__u32 first = 0;

	return bpf_map_lookup_elem(&tap_walks, &first);
}

static __always_inline struct tap_window *window_at(__u32 slot, enum tap_check check)
{
	__u32 at = slot * TAP_CHECKS + check;

	return bpf_map_lookup_elem(&tap_windows, &at);
}

static __always_inline struct tap_gate *gate_at(__u32 slot)
{
	return bpf_map_lookup_elem(&tap_gates, &slot);
}

static __always_inline struct tap_talk *talk_at(__u32 slot)
{
	return bpf_map_lookup_elem(&tap_talks, &slot);
}

static __always_inline struct tap_gate *strangers_get(void)
{
	__u32 first = 0;

	return bpf_map_lookup_elem(&tap_strangers, &first);
}

static __always_inline struct exchange_set *exchange_set_at(__u32 hash)
{
	__u32 at = hash % EXCHANGE_SETS;

	return bpf_map_lookup_elem(&tap_exchanges, &at);
}

static __always_inline struct tap_message *draft_get(void)
{
	__u32 first = 0;

	return bpf_map_lookup_elem(&tap_drafts, &first);
}

/* False: the ring was full. */
static __always_inline bool draft_send(struct tap_message *draft, __u64 bytes)
{
	return !bpf_ringbuf_output(&tap_messages, draft, bytes, 0);
}

static __always_inline struct tap_event *event_reserve(void)
{
	return bpf_ringbuf_reserve(&tap_ring, sizeof(struct tap_event), 0);
}

static __always_inline void event_submit(struct tap_event *event)
{
	bpf_ringbuf_submit(event, 0);
}

#endif
