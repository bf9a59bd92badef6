# SPDX-License-Identifier: Apache-2.0
"""Events: what they say, at which rate, and that what is not told is counted."""

from __future__ import annotations

import time

import pytest

from sentinel import abi
from sentinel.loader import syscall
from tests.harness.dhcp import DhcpType, dhcp
from tests.harness.frames import (
    GUEST_MAC,
    TPID_C,
    TPID_S,
    Bpdu,
    bpdu,
    config_body,
    ethernet,
    llc,
)
from tests.harness.programs import (
    FROM_GUEST,
    OTHER_PORT,
    PORT,
    TO_WIRE,
    UNWATCHED,
    UPLINK,
    IngressRefusedError,
    Programs,
)

RING_RECORD_BYTES = abi.TAP_EVENT.size + 8  # each has a header of its own
MOST_RECORDS = abi.TAP_RING_BYTES // RING_RECORD_BYTES
TWO_TAGS = ((TPID_S, 5, 0), (TPID_C, 6, 0))


def told(programs: Programs) -> int:
    counts = programs.counts()[0]
    return counts["events_told"]


def move_gate(programs: Programs, by_ticks: int) -> None:
    """Make the running rate window begin earlier than it did."""
    fd, key = programs.maps.fd("tap_gates"), programs.slot().to_bytes(4, "little")
    start_ticks, count, reserved = abi.TAP_GATE.unpack(
        syscall.map_lookup(fd, key, abi.TAP_GATE.size, "tap_gates")
    )
    moved = abi.TAP_GATE.pack(start_ticks - by_ticks, count, reserved)
    syscall.map_update(fd, key, moved, "tap_gates")


@pytest.mark.parametrize("tags", [(), TWO_TAGS[1:], TWO_TAGS], ids=len)
@pytest.mark.parametrize("kind", Bpdu)
def test_what_it_says(
    programs: Programs, kind: Bpdu, tags: tuple[tuple[int, int, int], ...]
) -> None:
    frame = bpdu(kind, tags=tags)
    programs.add()
    before = time.monotonic_ns()
    programs.check(FROM_GUEST, frame)
    after = time.monotonic_ns()
    event = programs.drain()[0]
    assert before < event.time_ns < after
    assert (event.ifindex, event.offender_ifindex) == (PORT, PORT)
    assert (event.check, event.verdict, event.role) == ("bpdu", "passed", "port")
    assert (event.frame_bytes, event.wire_bytes, event.tags) == (len(frame),) * 2 + (len(tags),)
    assert event.head == frame[: abi.TAP_HEAD_BYTES]
    assert event.source_mac == GUEST_MAC
    assert programs.counts()[0][f"bpdu.{event.kind}"] == 1


@pytest.mark.parametrize(
    ("action", "verdict"), [("count", "passed"), ("drop", "dropped"), ("quarantine", "latched")]
)
def test_verdicts(programs: Programs, action: str, verdict: str) -> None:
    programs.configure(bpdu=action)
    programs.add()
    programs.check(FROM_GUEST, bpdu(Bpdu.STP))
    assert [event.verdict for event in programs.drain()] == [verdict]


def test_kinds_of_other_checks(programs: Programs) -> None:
    programs.configure(dhcp_flood="count")
    programs.add(mtu_bytes=100)
    programs.check(FROM_GUEST, ethernet("ff:ff:ff:ff:ff:ff", GUEST_MAC, bytes(9), 0x806, TWO_TAGS))
    programs.check(FROM_GUEST, dhcp(DhcpType.ACK, tags=TWO_TAGS[1:]))
    assert [(event.check, event.kind) for event in programs.drain()] == [
        ("vlan", "2 tags"),
        ("size", "1 tag"),
        ("rogue_dhcp", "ack"),
    ]


@pytest.mark.parametrize("length", [17, 18, 60, 127, 128, 129, 1500, 3000])
def test_head(programs: Programs, length: int) -> None:
    """The first 128 bytes, or as many as there are; nothing of an earlier frame."""
    filled = ethernet("01:80:c2:00:00:00", "02:ff:ff:ff:ff:ff", b"\xff" * 1400, 0x8181)
    frame = ethernet("01:80:c2:00:00:00", GUEST_MAC, llc(config_body(GUEST_MAC))).ljust(3000, b"\1")
    programs.add()
    programs.check(FROM_GUEST, filled)
    programs.check(FROM_GUEST, frame[:length])
    assert programs.drain()[-1].head == frame[: min(length, abi.TAP_HEAD_BYTES)]


def test_rate(programs: Programs) -> None:
    """So many in a window for each port; the rest is counted as suppressed."""
    programs.configure(events_per_window=3)
    programs.add()
    programs.add(OTHER_PORT)
    for _ in range(10):
        programs.check(FROM_GUEST, bpdu(Bpdu.STP))
    programs.check(FROM_GUEST, bpdu(Bpdu.STP), OTHER_PORT)
    counts = programs.counts()[0]
    assert (counts["events_told"], counts["events_suppressed"]) == (3, 7)
    assert [event.ifindex for event in programs.drain()] == [PORT] * 3 + [OTHER_PORT]


def test_rate_window(programs: Programs) -> None:
    programs.configure(events_per_window=2)
    programs.add()
    fd = programs.maps.fd("tap_config")
    config = abi.TAP_CONFIG.unpack(syscall.map_lookup(fd, bytes(4), abi.TAP_CONFIG.size, "config"))
    window_ticks = config[abi.TAP_CONFIG_FIELDS.index("event_window_ticks")]
    for _ in range(3):
        programs.check(FROM_GUEST, bpdu(Bpdu.STP))
    move_gate(programs, window_ticks - 1000)
    programs.run(FROM_GUEST, bpdu(Bpdu.STP))
    assert told(programs) == 2
    move_gate(programs, 1000)
    for _ in range(3):
        programs.run(FROM_GUEST, bpdu(Bpdu.STP))
    assert told(programs) == 4


def test_a_rate_of_none_tells_latches_alone(programs: Programs) -> None:
    """A latch is told whatever the rate says: it is the news."""
    programs.configure(events_per_window=0, bpdu="drop")
    programs.add()
    programs.check(FROM_GUEST, bpdu(Bpdu.STP))
    assert programs.drain() == []
    programs.configure(events_per_window=0, bpdu="quarantine")
    programs.check(FROM_GUEST, bpdu(Bpdu.STP))
    assert [event.verdict for event in programs.drain()] == ["latched"]


def test_a_full_ring_is_counted(programs: Programs) -> None:
    """Told, suppressed and lost are all the offences there were; counters stay exact."""
    programs.configure(events_per_window=1 << 30)
    programs.add()
    offences = MOST_RECORDS + 500
    frame = bpdu(Bpdu.STP)
    for _ in range(offences):
        programs.run(FROM_GUEST, frame)
    counts = programs.counts()[0]
    assert counts["bpdu.stp"] == offences
    assert counts["events_lost"] >= 500
    assert counts["events_told"] + counts["events_lost"] == offences
    assert len(programs.drain()) == counts["events_told"]
    programs.run(FROM_GUEST, frame)
    assert len(programs.drain()) == 1


def test_nothing_that_passes_unjudged_is_told(programs: Programs) -> None:
    programs.add(UPLINK, role="uplink")
    programs.check(TO_WIRE, bpdu(Bpdu.STP), UPLINK)
    programs.check(TO_WIRE, dhcp(DhcpType.OFFER), UPLINK)
    programs.add(PORT, trusted=["bpdu"])
    programs.check(FROM_GUEST, bpdu(Bpdu.STP))
    assert programs.drain() == []


def test_the_host_s_own_dropped_at_the_uplink(programs: Programs) -> None:
    programs.configure(host_bpdu="drop")
    programs.add(UPLINK, role="uplink")
    programs.check(TO_WIRE, bpdu(Bpdu.MSTP), UPLINK)
    (event,) = programs.drain()
    assert (event.ifindex, event.offender_ifindex, event.role) == (UPLINK, 0, "uplink")
    assert (event.kind, event.verdict) == ("mstp", "dropped")


@pytest.mark.parametrize("ingress", [PORT, UNWATCHED])
def test_a_guest_s_at_the_uplink(programs: Programs, ingress: int) -> None:
    """Counted at the uplink, on the rate of the port that it came from where there is one."""
    programs.configure(bpdu="drop", events_per_window=1)
    programs.add(UPLINK, role="uplink")
    programs.add(PORT)
    try:
        for _ in range(2):
            programs.check(TO_WIRE, bpdu(Bpdu.PVST), UPLINK, ingress_ifindex=ingress)
    except IngressRefusedError:
        pytest.skip("this kernel's test run cannot say where a frame came in (5.14 can)")
    (event,) = programs.drain()
    assert (event.ifindex, event.offender_ifindex) == (UPLINK, ingress)
    assert (event.role, event.kind, event.direction) == ("uplink", "pvst", abi.TAP_OUT)
    assert programs.counts(UPLINK)[1]["events_suppressed"] == 1
    programs.check(FROM_GUEST, bpdu(Bpdu.STP))
    assert programs.counts()[0]["events_told"] == (ingress != PORT)
