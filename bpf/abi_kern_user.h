/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The contract between the kernel programs and user space. Both sides include
 * this file; sentinel/abi.py is generated from it (tools/generate_abi.py) and a
 * test fails when the two differ. Nothing here is typed a second time.
 *
 * Byte order is the host's unless a type says __be16. Units are in the names.
 * Times are CLOCK_MONOTONIC unless a name says wall. A tick is the kernel's
 * jiffy: clock_getres(CLOCK_MONOTONIC_COARSE) says how long it is.
 */
#ifndef TAP_ABI_KERN_USER_H
#define TAP_ABI_KERN_USER_H

/* Raised with every change of a layout or of a meaning below. */
enum tap_abi {
	TAP_ABI_VERSION = 3,
};

enum tap_limits {
	TAP_MAX_PORTS = 2048, /* slots; a power of two, see port_find() */
	TAP_MAX_TAGS = 4, /* VLAN tags a frame is followed through */
	TAP_HEAD_BYTES = 128, /* bytes of the frame that an event carries */
	TAP_REASON_BYTES = 96, /* a reason, UTF-8, NUL padded */
	TAP_NAME_BYTES = 16, /* IFNAMSIZ */
	TAP_RING_BYTES = 1 << 20,
	TAP_MAX_ORDERS = 1024, /* orders kept for a daemon that is away */
	TAP_MESSAGE_BYTES = 1600, /* of a frame with a DHCP message: all of 1500 and tags */
	TAP_MESSAGE_RING_BYTES = 1 << 21,
	TAP_MAX_EXCHANGES = 1 << 14, /* DHCP exchanges whose answers are expected */
	TAP_MAX_ANSWERS = 16, /* told for one message that was told, at all places */
	TAP_MAX_PAIRS = 1 << 14, /* rows of tags and sizes, of all devices together */
	TAP_PAIRS_PER_PORT = 32, /* of them, both directions */
	TAP_PAIRS_PER_UPLINK = 1 << 12,
	TAP_MAX_LOSSES = 1 << 10, /* rows of frames that the kernel threw away */
	TAP_SYMBOL_BYTES = 48, /* a kernel function's name, NUL padded */
};

/* Which way a frame goes. IN: from_guest at a port, from_wire at an uplink. */
enum tap_direction {
	TAP_IN,
	TAP_OUT,
	TAP_DIRECTIONS,
};

enum tap_role {
	TAP_ROLE_FREE,
	TAP_ROLE_PORT,
	TAP_ROLE_UPLINK,
};

enum tap_check {
	TAP_CHECK_BPDU,
	TAP_CHECK_VLAN, /* more than one VLAN tag */
	TAP_CHECK_SIZE, /* oversized for the path */
	TAP_CHECK_ROGUE_DHCP, /* a guest that answers as a server */
	TAP_CHECK_DHCP_FLOOD, /* more than threshold messages in a window */
	TAP_CHECKS,
};

enum tap_action {
	TAP_ACTION_COUNT,
	TAP_ACTION_DROP,
	TAP_ACTION_QUARANTINE,
};

enum tap_bpdu {
	TAP_BPDU_STP,
	TAP_BPDU_RSTP,
	TAP_BPDU_MSTP,
	TAP_BPDU_PVST,
	TAP_BPDU_OTHER,
	TAP_BPDU_KINDS,
};

/* Indices 1 to 8 are option 53's values (RFC 2132 section 9.6). */
enum tap_dhcp {
	TAP_DHCP_OTHER, /* BOOTP, later types, or no type to be found */
	TAP_DHCP_DISCOVER,
	TAP_DHCP_OFFER,
	TAP_DHCP_REQUEST,
	TAP_DHCP_DECLINE,
	TAP_DHCP_ACK,
	TAP_DHCP_NAK,
	TAP_DHCP_RELEASE,
	TAP_DHCP_INFORM,
	TAP_DHCP_TYPES,
};

/* Indices 1 to 13 are the message types of RFC 8415 section 7.3. */
enum tap_dhcp6 {
	TAP_DHCP6_OTHER, /* later types, and what is cut off */
	TAP_DHCP6_SOLICIT,
	TAP_DHCP6_ADVERTISE,
	TAP_DHCP6_REQUEST,
	TAP_DHCP6_CONFIRM,
	TAP_DHCP6_RENEW,
	TAP_DHCP6_REBIND,
	TAP_DHCP6_REPLY,
	TAP_DHCP6_RELEASE,
	TAP_DHCP6_DECLINE,
	TAP_DHCP6_RECONFIGURE,
	TAP_DHCP6_INFORMATION_REQUEST,
	TAP_DHCP6_RELAY_FORW,
	TAP_DHCP6_RELAY_REPL,
	TAP_DHCP6_TYPES,
};

/* Both in one number: enum tap_dhcp as it is, enum tap_dhcp6 from here on. */
enum tap_message_type {
	TAP_MESSAGE_DHCP6 = 32,
	TAP_MESSAGE_NONE = 255, /* no DHCP message */
};

/* How far above its path's MTU an oversized frame is, in bytes. */
enum tap_excess {
	TAP_EXCESS_TAG, /* 1 to 4 */
	TAP_EXCESS_TWO_TAGS, /* 5 to 8 */
	TAP_EXCESS_TUNNEL, /* 9 to 50: VXLAN over IPv4 adds 50 */
	TAP_EXCESS_MORE,
	TAP_EXCESSES,
};

/* Why a frame was dropped: the check that offended, or the port's latch. */
enum tap_drop {
	TAP_DROP_BPDU,
	TAP_DROP_VLAN,
	TAP_DROP_SIZE,
	TAP_DROP_ROGUE_DHCP,
	TAP_DROP_DHCP_FLOOD,
	TAP_DROP_QUARANTINE,
	TAP_DROPS,
};

/* What holds a port shut: TAP_LATCH_CHECK + check, or an order. 0 is open. */
enum tap_latch {
	TAP_LATCH_OPEN = 0,
	TAP_LATCH_CHECK = 1,
	TAP_LATCH_ORDER = 64,
};

enum tap_verdict {
	TAP_VERDICT_PASSED,
	TAP_VERDICT_DROPPED,
	TAP_VERDICT_LATCHED, /* dropped, and the port shut with it */
	TAP_VERDICT_FUSED, /* dropped; the fuse kept the port open */
};

/*
 * One slot: a port or an uplink. The first four members never move: a later
 * version reads them out of an earlier one's map to carry quarantines over.
 */
struct tap_port {
	__u32 ifindex; /* 0: the slot is free */
	__u32 latch; /* enum tap_latch */
	__u64 latched_at_ns;
	__u32 role; /* enum tap_role */
	__u32 mtu_bytes; /* of the path; 0: sizes are not judged */
	__u32 trusted_checks; /* bit per enum tap_check */
	__u32 reserved;
	/*
	 * When a frame last went that is more than housekeeping (ARP, neighbour
	 * discovery, IGMP, MLD, DHCP: see tap_talk.quiet_ns); 0: never. A clock is read once in
	 * a tick: of frames in one tick the first one's time stands here.
	 */
	__u64 seen_ns[TAP_DIRECTIONS];
	__u64 seen_ticks[TAP_DIRECTIONS];
};

struct tap_counters {
	__u64 frames;
	__u64 bytes; /* Ethernet header and tags, without the FCS */
	__u64 oversized;
	__u64 oversized_by_tags;
	__u64 vlan_tagged;
	__u64 vlan_nested;
	__u64 bpdu[TAP_BPDU_KINDS];
	__u64 bpdu_host; /* the host's own, at an uplink; not in bpdu[] */
	__u64 dhcp[TAP_DHCP_TYPES];
	__u64 dhcp6[TAP_DHCP6_TYPES];
	__u64 dhcp_server; /* of both, what only a server sends */
	__u64 dropped[TAP_DROPS];
	__u64 events_told;
	__u64 events_suppressed; /* over the port's rate */
	__u64 events_lost; /* the ring was full */
	__u64 messages_told; /* DHCP messages in the message ring */
	__u64 messages_suppressed; /* over the port's rate, or more answers than one is due */
	__u64 messages_lost; /* the message ring was full */
};

struct tap_check_policy {
	__u32 action; /* enum tap_action */
	__u32 threshold; /* offences in a window that shut the port */
	__u64 window_ticks;
};

struct tap_config {
	struct tap_check_policy checks[TAP_CHECKS];
	__u32 host_bpdu_action; /* COUNT or DROP, at an uplink */
	__u32 events_per_window; /* told per port */
	__u64 event_window_ticks;
	__u32 max_quarantined; /* the fuse, in ports */
	__u32 messages_per_window; /* DHCP messages told per port and direction */
};

struct tap_state {
	__u32 quarantined; /* ports whose latch is not open */
	enum tap_abi abi; /* of these maps; also puts the version into the object's BTF */
	__u64 fuse_refusals; /* frames that would have shut a port */
	__u64 build; /* of the programs that run: a hash of their objects */
	__u64 pairs_lost; /* frames that found no row of tap_pairs, not even the rest's */
};

struct tap_window {
	__u64 start_ticks;
	__u32 offences;
	__u32 reserved;
};

struct tap_gate {
	__u64 start_ticks;
	__u32 told;
	__u32 reserved;
};

/* What a slot keeps about DHCP, beside its counters. Begins anew with its port. */
struct tap_talk {
	__u64 start_ticks[TAP_DIRECTIONS]; /* of the running window */
	__u32 told[TAP_DIRECTIONS]; /* in it, but for answers that were expected */
	/*
	 * Messages that this port's leases depend on and that were not told: its
	 * own over the rate, and both its own and their answers where the ring was full.
	 */
	__u32 missed;
	__u32 reserved;
	__u64 quiet_ns[TAP_DIRECTIONS]; /* last frame of housekeeping */
	__u64 quiet_ticks[TAP_DIRECTIONS]; /* as tap_port.seen_ticks */
};

/*
 * Who cut a port and for how long. User space alone writes it; it stands beside
 * the latch so that both outlive the daemon.
 */
struct tap_cut {
	__u32 latch; /* that this describes; 0: nothing */
	__u32 ifindex;
	__u32 uid; /* of an order */
	__u32 relapses;
	__u64 since_wall_ns;
	__u64 hold_ns; /* 0: until released */
	char reason[TAP_REASON_BYTES];
};

enum tap_order_kind {
	TAP_ORDER_QUARANTINE = 1,
	TAP_ORDER_RELEASE = 2,
};

/* An order carried out while no daemon ran, to be journaled by the next. */
struct tap_order {
	__u32 kind; /* enum tap_order_kind */
	__u32 ifindex;
	__u32 uid;
	__u32 changed; /* 0: the port was in that state already */
	__u64 at_wall_ns;
	__u64 hold_ns; /* 0: until released */
	char name[TAP_NAME_BYTES];
	char reason[TAP_REASON_BYTES];
};

/* One record of the ring. */
struct tap_event {
	__u64 time_ns;
	__u32 ifindex; /* whose program saw the frame */
	__u32 offender_ifindex; /* at an uplink: where the frame came in */
	__u32 frame_bytes; /* as tap_counters.bytes counts it */
	__u32 wire_bytes; /* of the largest segment, if it is a GSO frame */
	__u8 check; /* enum tap_check */
	__u8 kind; /* enum tap_bpdu, enum tap_message_type, or tags */
	__u8 direction; /* enum tap_direction */
	__u8 role; /* enum tap_role */
	__u8 verdict; /* enum tap_verdict */
	__u8 tags;
	__u16 head_bytes; /* of head[] that are the frame's */
	__be16 outer_tpid; /* of a tag that is in metadata, else 0 */
	__u16 outer_tci;
	__u32 reserved;
	__u8 head[TAP_HEAD_BYTES]; /* without a tag that is in metadata */
};

/*
 * One record of the message ring: a DHCP message where it was seen. Records are
 * as long as their frame: offsetof(frame) + head_bytes.
 *
 * A client's message is told at the port's rate. One that was told makes its
 * answers expected (by xid and the client's MAC), and those are told wherever
 * they are seen, so that nobody else's answers can crowd them out.
 */
struct tap_message {
	__u64 time_ns;
	/* The port's tap_port.seen_ns when the message passed; 0 if it is not known. */
	__u64 sent_ns;
	__u64 received_ns;
	__u32 ifindex; /* whose program saw it */
	__u32 port_ifindex; /* of the port whose exchange it belongs to; 0: unknown */
	__u32 missed; /* that port's tap_talk.missed */
	__u32 frame_bytes; /* as tap_counters.bytes counts it */
	__u16 head_bytes; /* of frame[] that are the frame's */
	__u8 type; /* enum tap_message_type */
	__u8 direction; /* enum tap_direction */
	__u8 role; /* enum tap_role */
	__u8 verdict; /* enum tap_verdict */
	__be16 outer_tpid; /* of a tag that is in metadata, else 0 */
	__u16 outer_tci;
	__u16 reserved[3];
	__u8 frame[TAP_MESSAGE_BYTES]; /* without a tag that is in metadata */
};

/* Whose tags and sizes a row of tap_pairs counts. */
struct tap_pair_key {
	__u32 ifindex;
	__u32 direction; /* enum tap_direction */
	__u32 outer; /* TPID << 16 | VID; 0: no tag; TAP_PAIR_REST */
	__u32 inner;
};

/* As outer and inner: all pairs of a device and direction that have no row of their own. */
#define TAP_PAIR_REST 0xffffffffU

/* Sizes are those of the largest segment, if it is a GSO frame. Per CPU. */
struct tap_pair {
	__u64 frames;
	__u64 bytes; /* as tap_counters.bytes counts it */
	__u64 oversized;
	__u64 excess[TAP_EXCESSES];
	__u64 first_ns;
	__u64 last_ns; /* of frames in one tick the first one's time stands here */
	__u64 last_ticks;
	__u64 oversized_ns; /* likewise, of the last oversized frame; 0: none */
	__u32 smallest_excess_bytes; /* of oversized frames */
	__u32 largest_excess_bytes;
	__u32 largest_wire_bytes;
	__u32 reserved;
};

/* Which way, why and where in its code the kernel threw frames away. */
struct tap_loss_key {
	__u64 location; /* in the kernel's text; only ever compared */
	__u32 from_ifindex; /* by which it came into the host; 0: the host made it */
	__u32 at_ifindex; /* whose frame it was when it was dropped */
	__u32 reason; /* enum skb_drop_reason of the running kernel */
	__u32 reserved;
};

struct tap_loss {
	__u64 frames;
	__u64 bytes;
	__u64 first_ns;
	__u64 last_ns;
	__u32 largest_bytes;
	__u32 last_ticks; /* of last_ns: as tap_port.seen_ticks, the low half */
	char symbol[TAP_SYMBOL_BYTES]; /* that location is in */
};

struct tap_loss_state {
	__u32 netns_inum; /* of the daemon: ifindexes of others mean other devices; 0: look at none */
	__u32 reserved;
	__u64 unlisted; /* frames that found no row */
};

_Static_assert(sizeof(struct tap_pair_key) == 16, "no padding in a key");
_Static_assert(sizeof(struct tap_loss_key) == 24, "no padding in a key");
_Static_assert(sizeof(struct tap_port) == 64, "a slot is a cache line");
_Static_assert(sizeof(struct tap_talk) == 64, "a cache line");
_Static_assert(__builtin_offsetof(struct tap_port, latched_at_ns) == 8,
	       "the first four members of a slot never move");
_Static_assert((TAP_MAX_PORTS & (TAP_MAX_PORTS - 1)) == 0, "a power of two");
_Static_assert(sizeof(struct tap_event) % 8 == 0, "ring records are padded");
_Static_assert(sizeof(struct tap_message) % 8 == 0, "ring records are padded");
_Static_assert((int)TAP_DHCP_TYPES <= (int)TAP_MESSAGE_DHCP6, "the two do not overlap");

#endif
