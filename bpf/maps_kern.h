/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The maps, and the only file that knows how they are declared: what differs
 * between libbpf and BCC is here. Programs reach them through the functions at
 * the end. Every map is pinned by its name.
 */
#ifndef TAP_MAPS_KERN_H
#define TAP_MAPS_KERN_H

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <stdbool.h>
#include <bpf/bpf_helpers.h>

#include "abi_kern_user.h"

/*
 * What libbpf and BCC want differently. A map's key is a number unless it is MAP_KEYED;
 * rings and queues have none. BCC goes through the text twice: for the shapes of the
 * maps (TAP_BCC_MAPS), and for the programs, where a number stands for each map
 * (TAP_FD_ and its name) until its descriptor is known.
 */
#ifdef TAP_BCC_MAPS
#define THE_MAP(name) ((void *)0)
#define KIND_ARRAY "array"
#define KIND_PERCPU_ARRAY "percpu_array"
#define KIND_HASH "hash"
#define KIND_PERCPU_HASH "percpu_hash"
#define MAP_KEYED(kind, name, key_type, value_type, entries, flags)                                \
	BPF_F_TABLE(KIND_##kind, key_type, value_type, name, entries, flags)
#define MAP_RING(name, bytes) BPF_F_TABLE("ringbuf", __u32, __u32, name, bytes, 0)
#define MAP_QUEUE(name, value_type, entries) BPF_QUEUESTACK("queue", name, value_type, entries, 0)
#elif defined(TAP_BCC)
#define THE_MAP(name) ((void *)bpf_pseudo_fd(1, TAP_FD_##name))
#define MAP_KEYED(...) _Static_assert(1, "declared in the other pass")
#define MAP_RING MAP_KEYED
#define MAP_QUEUE MAP_KEYED
#else
#define THE_MAP(name) (&(name))
#define MAP_KEYED(kind, name, key_type, value_type, entries, flags)                                \
	struct {                                                                                   \
		__uint(type, BPF_MAP_TYPE_##kind);                                                 \
		__uint(max_entries, entries);                                                      \
		__uint(map_flags, flags);                                                          \
		__type(key, key_type);                                                             \
		__type(value, value_type);                                                         \
	} name SEC(".maps")
#define MAP_RING(name, bytes)                                                                      \
	struct {                                                                                   \
		__uint(type, BPF_MAP_TYPE_RINGBUF);                                                \
		__uint(max_entries, bytes);                                                        \
	} name SEC(".maps")
#define MAP_QUEUE(name, value_type, entries)                                                       \
	struct {                                                                                   \
		__uint(type, BPF_MAP_TYPE_QUEUE);                                                  \
		__uint(max_entries, entries);                                                      \
		__type(value, value_type);                                                         \
	} name SEC(".maps")
#endif

#define MAP(kind, name, value_type, entries, flags)                                                \
	MAP_KEYED(kind, name, __u32, value_type, entries, flags)

#define EXCHANGE_WAYS 4
#define EXCHANGE_SETS (TAP_MAX_EXCHANGES / EXCHANGE_WAYS)

enum exchange_place {
	EXCHANGE_AT_PORT,
	EXCHANGE_AT_UPLINK,
	EXCHANGE_PLACES,
};

/* Who is watched, and whose latch is set. Mapped into user space. */
MAP(ARRAY, tap_ports, struct tap_port, TAP_MAX_PORTS, BPF_F_MMAPABLE);

/* Only for a port whose home slot, ifindex modulo TAP_MAX_PORTS, was taken. */
MAP(HASH, tap_strays, __u32, TAP_MAX_PORTS, 0);

/* At slot * TAP_DIRECTIONS + direction. */
MAP(PERCPU_ARRAY, tap_counts, struct tap_counters, TAP_MAX_PORTS *TAP_DIRECTIONS, 0);

MAP(ARRAY, tap_config, struct tap_config, 1, 0);

MAP(ARRAY, tap_state, struct tap_state, 1, BPF_F_MMAPABLE);

/* Offences in the running window, at slot * TAP_CHECKS + check. */
MAP(ARRAY, tap_windows, struct tap_window, TAP_MAX_PORTS *TAP_CHECKS, 0);

/* Events told in the running window, by slot. */
MAP(ARRAY, tap_gates, struct tap_gate, TAP_MAX_PORTS, 0);

MAP_RING(tap_ring, TAP_RING_BYTES);

/* Where a walk over DHCP options stands, on each CPU. Nothing of it outlives a frame. */
struct dhcp_walk {
	__u32 offset;
	__u32 end;
	__u32 type; /* enum tap_dhcp as it was found; 0: not yet */
	__u32 overload; /* option 52 */
};

MAP(PERCPU_ARRAY, tap_walks, struct dhcp_walk, 1, 0);

/* What a slot keeps about DHCP, by slot. */
MAP(ARRAY, tap_talks, struct tap_talk, TAP_MAX_PORTS, 0);

/* The DHCP messages themselves. A ring of their own: no offence can crowd them out. */
MAP_RING(tap_messages, TAP_MESSAGE_RING_BYTES);

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
MAP(ARRAY, tap_exchanges, struct exchange_set, EXCHANGE_SETS,
    BPF_F_MMAPABLE); /* for tests: to empty it in one go */

/* Answers told in the running window that nobody waited for, at all devices together. */
MAP(ARRAY, tap_strangers, struct tap_gate, 1, 0);

/* Where a record of the message ring is written before it is told, on each CPU. */
MAP(PERCPU_ARRAY, tap_drafts, struct tap_message, 1, 0);

/* Tags and sizes by device, direction and pair of tags. Rows are made as they are needed. */
MAP_KEYED(PERCPU_HASH, tap_pairs, struct tap_pair_key, struct tap_pair, TAP_MAX_PAIRS,
	  BPF_F_NO_PREALLOC);

/* Rows of tap_pairs that a slot has. */
MAP(ARRAY, tap_pair_rooms, __u32, TAP_MAX_PORTS, BPF_F_MMAPABLE);

MAP_KEYED(HASH, tap_losses, struct tap_loss_key, struct tap_loss, TAP_MAX_LOSSES, 0);

MAP(ARRAY, tap_loss_state, struct tap_loss_state, 1, BPF_F_MMAPABLE);

/* Programs never touch the next two: they keep what outlives the daemon. */
MAP(ARRAY, tap_cuts, struct tap_cut, TAP_MAX_PORTS, 0);

MAP_QUEUE(tap_orders, struct tap_order, TAP_MAX_ORDERS);

static __always_inline struct tap_port *port_at(__u32 slot)
{
	return bpf_map_lookup_elem(THE_MAP(tap_ports), &slot);
}

static __always_inline __u32 *stray_slot(__u32 ifindex)
{
	return bpf_map_lookup_elem(THE_MAP(tap_strays), &ifindex);
}

static __always_inline struct tap_counters *counters_at(__u32 slot, enum tap_direction direction)
{
	__u32 at = slot * TAP_DIRECTIONS + direction;

	return bpf_map_lookup_elem(THE_MAP(tap_counts), &at);
}

static __always_inline const struct tap_config *config_get(void)
{
	__u32 first = 0;

	return bpf_map_lookup_elem(THE_MAP(tap_config), &first);
}

static __always_inline struct tap_state *state_get(void)
{
	__u32 first = 0;

	return bpf_map_lookup_elem(THE_MAP(tap_state), &first);
}

static __always_inline volatile struct dhcp_walk *walk_get(void)
{
	__u32 first = 0;

	return bpf_map_lookup_elem(THE_MAP(tap_walks), &first);
}

static __always_inline struct tap_window *window_at(__u32 slot, enum tap_check check)
{
	__u32 at = slot * TAP_CHECKS + check;

	return bpf_map_lookup_elem(THE_MAP(tap_windows), &at);
}

static __always_inline struct tap_gate *gate_at(__u32 slot)
{
	return bpf_map_lookup_elem(THE_MAP(tap_gates), &slot);
}

static __always_inline struct tap_talk *talk_at(__u32 slot)
{
	return bpf_map_lookup_elem(THE_MAP(tap_talks), &slot);
}

static __always_inline struct tap_gate *strangers_get(void)
{
	__u32 first = 0;

	return bpf_map_lookup_elem(THE_MAP(tap_strangers), &first);
}

static __always_inline struct exchange_set *exchange_set_at(__u32 hash)
{
	__u32 at = hash % EXCHANGE_SETS;

	return bpf_map_lookup_elem(THE_MAP(tap_exchanges), &at);
}

static __always_inline struct tap_pair *pair_get(const struct tap_pair_key *key)
{
	return bpf_map_lookup_elem(THE_MAP(tap_pairs), key);
}

/* False: there is no room, or another CPU made it first. */
static __always_inline bool pair_add(const struct tap_pair_key *key, const struct tap_pair *pair)
{
	return !bpf_map_update_elem(THE_MAP(tap_pairs), key, pair, BPF_NOEXIST);
}

static __always_inline __u32 *pair_room_at(__u32 slot)
{
	return bpf_map_lookup_elem(THE_MAP(tap_pair_rooms), &slot);
}

static __always_inline struct tap_loss *loss_get(const struct tap_loss_key *key)
{
	return bpf_map_lookup_elem(THE_MAP(tap_losses), key);
}

static __always_inline bool loss_add(const struct tap_loss_key *key, const struct tap_loss *loss)
{
	return !bpf_map_update_elem(THE_MAP(tap_losses), key, loss, BPF_NOEXIST);
}

static __always_inline struct tap_loss_state *loss_state_get(void)
{
	__u32 first = 0;

	return bpf_map_lookup_elem(THE_MAP(tap_loss_state), &first);
}

static __always_inline struct tap_message *draft_get(void)
{
	__u32 first = 0;

	return bpf_map_lookup_elem(THE_MAP(tap_drafts), &first);
}

/* False: the ring was full. */
static __always_inline bool draft_send(struct tap_message *draft, __u64 bytes)
{
	return !bpf_ringbuf_output(THE_MAP(tap_messages), draft, bytes, 0);
}

static __always_inline struct tap_event *event_reserve(void)
{
	return bpf_ringbuf_reserve(THE_MAP(tap_ring), sizeof(struct tap_event), 0);
}

static __always_inline void event_submit(struct tap_event *event)
{
	bpf_ringbuf_submit(event, 0);
}

#endif
