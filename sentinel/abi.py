# SPDX-License-Identifier: Apache-2.0
"""The contract with the kernel programs.

Generated from bpf/abi_kern_user.h by tools/generate_abi.py: change that, not this.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

# enum tap_abi
TAP_ABI_VERSION: Final = 3

# enum tap_limits
TAP_MAX_PORTS: Final = 2048
TAP_MAX_TAGS: Final = 4
TAP_HEAD_BYTES: Final = 128
TAP_REASON_BYTES: Final = 96
TAP_NAME_BYTES: Final = 16
TAP_RING_BYTES: Final = 1048576
TAP_MAX_ORDERS: Final = 1024
TAP_MESSAGE_BYTES: Final = 1600
TAP_MESSAGE_RING_BYTES: Final = 2097152
TAP_MAX_EXCHANGES: Final = 16384
TAP_MAX_ANSWERS: Final = 16
TAP_MAX_PAIRS: Final = 16384
TAP_PAIRS_PER_PORT: Final = 32
TAP_PAIRS_PER_UPLINK: Final = 4096
TAP_MAX_LOSSES: Final = 1024
TAP_SYMBOL_BYTES: Final = 48

# enum tap_direction
TAP_IN: Final = 0
TAP_OUT: Final = 1
TAP_DIRECTIONS: Final = 2

# enum tap_role
TAP_ROLE_FREE: Final = 0
TAP_ROLE_PORT: Final = 1
TAP_ROLE_UPLINK: Final = 2

# enum tap_check
TAP_CHECK_BPDU: Final = 0
TAP_CHECK_VLAN: Final = 1
TAP_CHECK_SIZE: Final = 2
TAP_CHECK_ROGUE_DHCP: Final = 3
TAP_CHECK_DHCP_FLOOD: Final = 4
TAP_CHECKS: Final = 5

# enum tap_action
TAP_ACTION_COUNT: Final = 0
TAP_ACTION_DROP: Final = 1
TAP_ACTION_QUARANTINE: Final = 2

# enum tap_bpdu
TAP_BPDU_STP: Final = 0
TAP_BPDU_RSTP: Final = 1
TAP_BPDU_MSTP: Final = 2
TAP_BPDU_PVST: Final = 3
TAP_BPDU_OTHER: Final = 4
TAP_BPDU_KINDS: Final = 5

# enum tap_dhcp
TAP_DHCP_OTHER: Final = 0
TAP_DHCP_DISCOVER: Final = 1
TAP_DHCP_OFFER: Final = 2
TAP_DHCP_REQUEST: Final = 3
TAP_DHCP_DECLINE: Final = 4
TAP_DHCP_ACK: Final = 5
TAP_DHCP_NAK: Final = 6
TAP_DHCP_RELEASE: Final = 7
TAP_DHCP_INFORM: Final = 8
TAP_DHCP_TYPES: Final = 9

# enum tap_dhcp6
TAP_DHCP6_OTHER: Final = 0
TAP_DHCP6_SOLICIT: Final = 1
TAP_DHCP6_ADVERTISE: Final = 2
TAP_DHCP6_REQUEST: Final = 3
TAP_DHCP6_CONFIRM: Final = 4
TAP_DHCP6_RENEW: Final = 5
TAP_DHCP6_REBIND: Final = 6
TAP_DHCP6_REPLY: Final = 7
TAP_DHCP6_RELEASE: Final = 8
TAP_DHCP6_DECLINE: Final = 9
TAP_DHCP6_RECONFIGURE: Final = 10
TAP_DHCP6_INFORMATION_REQUEST: Final = 11
TAP_DHCP6_RELAY_FORW: Final = 12
TAP_DHCP6_RELAY_REPL: Final = 13
TAP_DHCP6_TYPES: Final = 14

# enum tap_message_type
TAP_MESSAGE_DHCP6: Final = 32
TAP_MESSAGE_NONE: Final = 255

# enum tap_excess
TAP_EXCESS_TAG: Final = 0
TAP_EXCESS_TWO_TAGS: Final = 1
TAP_EXCESS_TUNNEL: Final = 2
TAP_EXCESS_MORE: Final = 3
TAP_EXCESSES: Final = 4

# enum tap_drop
TAP_DROP_BPDU: Final = 0
TAP_DROP_VLAN: Final = 1
TAP_DROP_SIZE: Final = 2
TAP_DROP_ROGUE_DHCP: Final = 3
TAP_DROP_DHCP_FLOOD: Final = 4
TAP_DROP_QUARANTINE: Final = 5
TAP_DROPS: Final = 6

# enum tap_latch
TAP_LATCH_OPEN: Final = 0
TAP_LATCH_CHECK: Final = 1
TAP_LATCH_ORDER: Final = 64

# enum tap_verdict
TAP_VERDICT_PASSED: Final = 0
TAP_VERDICT_DROPPED: Final = 1
TAP_VERDICT_LATCHED: Final = 2
TAP_VERDICT_FUSED: Final = 3

# enum tap_order_kind
TAP_ORDER_QUARANTINE: Final = 1
TAP_ORDER_RELEASE: Final = 2

# struct tap_port, 64 bytes
TAP_PORT: Final = Struct("=IIQIIII2Q2Q")
TAP_PORT_FIELDS: Final = (
    "ifindex",
    "latch",
    "latched_at_ns",
    "role",
    "mtu_bytes",
    "trusted_checks",
    "reserved",
    "seen_ns",
    "seen_ticks",
)
TAP_PORT__IFINDEX: Final = 0
TAP_PORT__LATCH: Final = 4
TAP_PORT__LATCHED_AT_NS: Final = 8
TAP_PORT__ROLE: Final = 16
TAP_PORT__MTU_BYTES: Final = 20
TAP_PORT__TRUSTED_CHECKS: Final = 24
TAP_PORT__RESERVED: Final = 28
TAP_PORT__SEEN_NS: Final = 32
TAP_PORT__SEEN_TICKS: Final = 48

# struct tap_counters, 384 bytes
TAP_COUNTERS: Final = Struct("=QQQQQQ5QQ9Q14QQ6QQQQQQQ")
TAP_COUNTERS_FIELDS: Final = (
    "frames",
    "bytes",
    "oversized",
    "oversized_by_tags",
    "vlan_tagged",
    "vlan_nested",
    "bpdu",
    "bpdu_host",
    "dhcp",
    "dhcp6",
    "dhcp_server",
    "dropped",
    "events_told",
    "events_suppressed",
    "events_lost",
    "messages_told",
    "messages_suppressed",
    "messages_lost",
)
TAP_COUNTERS__FRAMES: Final = 0
TAP_COUNTERS__BYTES: Final = 8
TAP_COUNTERS__OVERSIZED: Final = 16
TAP_COUNTERS__OVERSIZED_BY_TAGS: Final = 24
TAP_COUNTERS__VLAN_TAGGED: Final = 32
TAP_COUNTERS__VLAN_NESTED: Final = 40
TAP_COUNTERS__BPDU: Final = 48
TAP_COUNTERS__BPDU_HOST: Final = 88
TAP_COUNTERS__DHCP: Final = 96
TAP_COUNTERS__DHCP6: Final = 168
TAP_COUNTERS__DHCP_SERVER: Final = 280
TAP_COUNTERS__DROPPED: Final = 288
TAP_COUNTERS__EVENTS_TOLD: Final = 336
TAP_COUNTERS__EVENTS_SUPPRESSED: Final = 344
TAP_COUNTERS__EVENTS_LOST: Final = 352
TAP_COUNTERS__MESSAGES_TOLD: Final = 360
TAP_COUNTERS__MESSAGES_SUPPRESSED: Final = 368
TAP_COUNTERS__MESSAGES_LOST: Final = 376

# struct tap_check_policy, 16 bytes
TAP_CHECK_POLICY: Final = Struct("=IIQ")
TAP_CHECK_POLICY_FIELDS: Final = (
    "action",
    "threshold",
    "window_ticks",
)
TAP_CHECK_POLICY__ACTION: Final = 0
TAP_CHECK_POLICY__THRESHOLD: Final = 4
TAP_CHECK_POLICY__WINDOW_TICKS: Final = 8

# struct tap_config, 104 bytes
TAP_CONFIG: Final = Struct("=80sIIQII")
TAP_CONFIG_FIELDS: Final = (
    "checks",
    "host_bpdu_action",
    "events_per_window",
    "event_window_ticks",
    "max_quarantined",
    "messages_per_window",
)
TAP_CONFIG__CHECKS: Final = 0
TAP_CONFIG__HOST_BPDU_ACTION: Final = 80
TAP_CONFIG__EVENTS_PER_WINDOW: Final = 84
TAP_CONFIG__EVENT_WINDOW_TICKS: Final = 88
TAP_CONFIG__MAX_QUARANTINED: Final = 96
TAP_CONFIG__MESSAGES_PER_WINDOW: Final = 100

# struct tap_state, 32 bytes
TAP_STATE: Final = Struct("=IIQQQ")
TAP_STATE_FIELDS: Final = (
    "quarantined",
    "abi",
    "fuse_refusals",
    "build",
    "pairs_lost",
)
TAP_STATE__QUARANTINED: Final = 0
TAP_STATE__ABI: Final = 4
TAP_STATE__FUSE_REFUSALS: Final = 8
TAP_STATE__BUILD: Final = 16
TAP_STATE__PAIRS_LOST: Final = 24

# struct tap_window, 16 bytes
TAP_WINDOW: Final = Struct("=QII")
TAP_WINDOW_FIELDS: Final = (
    "start_ticks",
    "offences",
    "reserved",
)
TAP_WINDOW__START_TICKS: Final = 0
TAP_WINDOW__OFFENCES: Final = 8
TAP_WINDOW__RESERVED: Final = 12

# struct tap_gate, 16 bytes
TAP_GATE: Final = Struct("=QII")
TAP_GATE_FIELDS: Final = (
    "start_ticks",
    "told",
    "reserved",
)
TAP_GATE__START_TICKS: Final = 0
TAP_GATE__TOLD: Final = 8
TAP_GATE__RESERVED: Final = 12

# struct tap_talk, 64 bytes
TAP_TALK: Final = Struct("=2Q2III2Q2Q")
TAP_TALK_FIELDS: Final = (
    "start_ticks",
    "told",
    "missed",
    "reserved",
    "quiet_ns",
    "quiet_ticks",
)
TAP_TALK__START_TICKS: Final = 0
TAP_TALK__TOLD: Final = 16
TAP_TALK__MISSED: Final = 24
TAP_TALK__RESERVED: Final = 28
TAP_TALK__QUIET_NS: Final = 32
TAP_TALK__QUIET_TICKS: Final = 48

# struct tap_cut, 128 bytes
TAP_CUT: Final = Struct("=IIIIQQ96s")
TAP_CUT_FIELDS: Final = (
    "latch",
    "ifindex",
    "uid",
    "relapses",
    "since_wall_ns",
    "hold_ns",
    "reason",
)
TAP_CUT__LATCH: Final = 0
TAP_CUT__IFINDEX: Final = 4
TAP_CUT__UID: Final = 8
TAP_CUT__RELAPSES: Final = 12
TAP_CUT__SINCE_WALL_NS: Final = 16
TAP_CUT__HOLD_NS: Final = 24
TAP_CUT__REASON: Final = 32

# struct tap_order, 144 bytes
TAP_ORDER: Final = Struct("=IIIIQQ16s96s")
TAP_ORDER_FIELDS: Final = (
    "kind",
    "ifindex",
    "uid",
    "changed",
    "at_wall_ns",
    "hold_ns",
    "name",
    "reason",
)
TAP_ORDER__KIND: Final = 0
TAP_ORDER__IFINDEX: Final = 4
TAP_ORDER__UID: Final = 8
TAP_ORDER__CHANGED: Final = 12
TAP_ORDER__AT_WALL_NS: Final = 16
TAP_ORDER__HOLD_NS: Final = 24
TAP_ORDER__NAME: Final = 32
TAP_ORDER__REASON: Final = 48

# struct tap_event, 168 bytes
TAP_EVENT: Final = Struct("=QIIIIBBBBBBHHHI128s")
TAP_EVENT_FIELDS: Final = (
    "time_ns",
    "ifindex",
    "offender_ifindex",
    "frame_bytes",
    "wire_bytes",
    "check",
    "kind",
    "direction",
    "role",
    "verdict",
    "tags",
    "head_bytes",
    "outer_tpid",
    "outer_tci",
    "reserved",
    "head",
)
TAP_EVENT__TIME_NS: Final = 0
TAP_EVENT__IFINDEX: Final = 8
TAP_EVENT__OFFENDER_IFINDEX: Final = 12
TAP_EVENT__FRAME_BYTES: Final = 16
TAP_EVENT__WIRE_BYTES: Final = 20
TAP_EVENT__CHECK: Final = 24
TAP_EVENT__KIND: Final = 25
TAP_EVENT__DIRECTION: Final = 26
TAP_EVENT__ROLE: Final = 27
TAP_EVENT__VERDICT: Final = 28
TAP_EVENT__TAGS: Final = 29
TAP_EVENT__HEAD_BYTES: Final = 30
TAP_EVENT__OUTER_TPID: Final = 32
TAP_EVENT__OUTER_TCI: Final = 34
TAP_EVENT__RESERVED: Final = 36
TAP_EVENT__HEAD: Final = 40

# struct tap_message, 1656 bytes
TAP_MESSAGE: Final = Struct("=QQQIIIIHBBBBHH3H1600s")
TAP_MESSAGE_FIELDS: Final = (
    "time_ns",
    "sent_ns",
    "received_ns",
    "ifindex",
    "port_ifindex",
    "missed",
    "frame_bytes",
    "head_bytes",
    "type",
    "direction",
    "role",
    "verdict",
    "outer_tpid",
    "outer_tci",
    "reserved",
    "frame",
)
TAP_MESSAGE__TIME_NS: Final = 0
TAP_MESSAGE__SENT_NS: Final = 8
TAP_MESSAGE__RECEIVED_NS: Final = 16
TAP_MESSAGE__IFINDEX: Final = 24
TAP_MESSAGE__PORT_IFINDEX: Final = 28
TAP_MESSAGE__MISSED: Final = 32
TAP_MESSAGE__FRAME_BYTES: Final = 36
TAP_MESSAGE__HEAD_BYTES: Final = 40
TAP_MESSAGE__TYPE: Final = 42
TAP_MESSAGE__DIRECTION: Final = 43
TAP_MESSAGE__ROLE: Final = 44
TAP_MESSAGE__VERDICT: Final = 45
TAP_MESSAGE__OUTER_TPID: Final = 46
TAP_MESSAGE__OUTER_TCI: Final = 48
TAP_MESSAGE__RESERVED: Final = 50
TAP_MESSAGE__FRAME: Final = 56

# struct tap_pair_key, 16 bytes
TAP_PAIR_KEY: Final = Struct("=IIII")
TAP_PAIR_KEY_FIELDS: Final = (
    "ifindex",
    "direction",
    "outer",
    "inner",
)
TAP_PAIR_KEY__IFINDEX: Final = 0
TAP_PAIR_KEY__DIRECTION: Final = 4
TAP_PAIR_KEY__OUTER: Final = 8
TAP_PAIR_KEY__INNER: Final = 12

# struct tap_pair, 104 bytes
TAP_PAIR: Final = Struct("=QQQ4QQQQQIIII")
TAP_PAIR_FIELDS: Final = (
    "frames",
    "bytes",
    "oversized",
    "excess",
    "first_ns",
    "last_ns",
    "last_ticks",
    "oversized_ns",
    "smallest_excess_bytes",
    "largest_excess_bytes",
    "largest_wire_bytes",
    "reserved",
)
TAP_PAIR__FRAMES: Final = 0
TAP_PAIR__BYTES: Final = 8
TAP_PAIR__OVERSIZED: Final = 16
TAP_PAIR__EXCESS: Final = 24
TAP_PAIR__FIRST_NS: Final = 56
TAP_PAIR__LAST_NS: Final = 64
TAP_PAIR__LAST_TICKS: Final = 72
TAP_PAIR__OVERSIZED_NS: Final = 80
TAP_PAIR__SMALLEST_EXCESS_BYTES: Final = 88
TAP_PAIR__LARGEST_EXCESS_BYTES: Final = 92
TAP_PAIR__LARGEST_WIRE_BYTES: Final = 96
TAP_PAIR__RESERVED: Final = 100

# struct tap_loss_key, 24 bytes
TAP_LOSS_KEY: Final = Struct("=QIIII")
TAP_LOSS_KEY_FIELDS: Final = (
    "location",
    "from_ifindex",
    "at_ifindex",
    "reason",
    "reserved",
)
TAP_LOSS_KEY__LOCATION: Final = 0
TAP_LOSS_KEY__FROM_IFINDEX: Final = 8
TAP_LOSS_KEY__AT_IFINDEX: Final = 12
TAP_LOSS_KEY__REASON: Final = 16
TAP_LOSS_KEY__RESERVED: Final = 20

# struct tap_loss, 88 bytes
TAP_LOSS: Final = Struct("=QQQQII48s")
TAP_LOSS_FIELDS: Final = (
    "frames",
    "bytes",
    "first_ns",
    "last_ns",
    "largest_bytes",
    "last_ticks",
    "symbol",
)
TAP_LOSS__FRAMES: Final = 0
TAP_LOSS__BYTES: Final = 8
TAP_LOSS__FIRST_NS: Final = 16
TAP_LOSS__LAST_NS: Final = 24
TAP_LOSS__LARGEST_BYTES: Final = 32
TAP_LOSS__LAST_TICKS: Final = 36
TAP_LOSS__SYMBOL: Final = 40

# struct tap_loss_state, 16 bytes
TAP_LOSS_STATE: Final = Struct("=IIQ")
TAP_LOSS_STATE_FIELDS: Final = (
    "netns_inum",
    "reserved",
    "unlisted",
)
TAP_LOSS_STATE__NETNS_INUM: Final = 0
TAP_LOSS_STATE__RESERVED: Final = 4
TAP_LOSS_STATE__UNLISTED: Final = 8
