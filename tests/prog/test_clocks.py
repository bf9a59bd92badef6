# SPDX-License-Identifier: Apache-2.0
"""When a port last sent and received: what counts as a sign of life, and how exactly."""

from __future__ import annotations

import time

import pytest

from sentinel import abi
from tests.harness.dhcp import PAD, DhcpType, dhcp
from tests.harness.dhcp6 import CLIENT, SERVERS_AND_RELAYS, Dhcp6Type, dhcp6
from tests.harness.frames import (
    BROADCAST,
    GUEST_MAC,
    TPID_C,
    TPID_S,
    Bpdu,
    Tag,
    bpdu,
    ethernet,
    snap,
)
from tests.harness.packets import (
    ETHERTYPE_IPV4,
    ETHERTYPE_IPV6,
    HOP_BY_HOP,
    PROTO_ICMP,
    PROTO_ICMPV6,
    PROTO_IGMP,
    PROTO_TCP,
    PROTO_UDP,
    ROUTER_ALERT,
    Extension,
    arp,
    fragment_header,
    icmp_echo,
    icmpv6,
    ipv4,
    ipv6,
    options_header,
    tcp,
    tcp_frame,
    udp,
    udp_frame,
)
from tests.harness.programs import (
    FROM_GUEST,
    FROM_WIRE,
    OTHER_PORT,
    PORT,
    PROGRAMS,
    TO_GUEST,
    TO_WIRE,
    UPLINK,
    IngressRefusedError,
    Programs,
)
from tests.harness.slot_memory import Clocks

V4, V6 = ("192.0.2.9", "192.0.2.1"), (CLIENT, SERVERS_AND_RELAYS)
NEVER = Clocks(0, 0, 0, 0)
TAGS: tuple[tuple[Tag, ...], ...] = ((), ((TPID_C, 5, 0),), ((TPID_S, 5, 0), (TPID_C, 6, 0)))
ICMPV6_QUIET = (130, 131, 132, 133, 134, 135, 136, 137, 143)
ORDINARY = tcp_frame(GUEST_MAC, BROADCAST, *V4)


def icmp6_frame(
    kind: int, tags: tuple[Tag, ...] = (), extensions: tuple[Extension, ...] = ()
) -> bytes:
    packet = ipv6(*V6, PROTO_ICMPV6, icmpv6(*V6, kind), extensions=extensions)
    return ethernet(BROADCAST, GUEST_MAC, packet, ETHERTYPE_IPV6, tags)


def v4_frame(protocol: int, payload: bytes, tags: tuple[Tag, ...] = ()) -> bytes:
    return ethernet(BROADCAST, GUEST_MAC, ipv4(*V4, protocol, payload), ETHERTYPE_IPV4, tags)


def v6_frame(protocol: int, payload: bytes, tags: tuple[Tag, ...] = ()) -> bytes:
    return ethernet(BROADCAST, GUEST_MAC, ipv6(*V6, protocol, payload), ETHERTYPE_IPV6, tags)


def housekeeping(tags: tuple[Tag, ...] = ()) -> dict[str, bytes]:
    """What a host's kernel and its DHCP client send by themselves."""
    body = arp(GUEST_MAC, *V4)[14:]
    alert = (options_header(HOP_BY_HOP, ROUTER_ALERT),)
    return {
        "arp": ethernet(BROADCAST, GUEST_MAC, body, 0x0806, tags),
        "arp behind snap": ethernet(BROADCAST, GUEST_MAC, snap(bytes(3), 0x0806, body), None, tags),
        "igmp": v4_frame(PROTO_IGMP, bytes(8), tags),
        "dhcp": dhcp(DhcpType.REQUEST, tags=tags),
        "dhcp answer": dhcp(DhcpType.ACK, tags=tags),
        "dhcp, hidden": dhcp(DhcpType.ACK, tags=tags, pads=50),
        "dhcpv6": dhcp6(Dhcp6Type.RENEW, tags=tags),
        "dhcpv6 answer": dhcp6(Dhcp6Type.REPLY, tags=tags),
        **{f"icmpv6 {kind}": icmp6_frame(kind, tags) for kind in ICMPV6_QUIET},
        **{f"icmpv6 {kind}, alert": icmp6_frame(kind, tags, alert) for kind in ICMPV6_QUIET},
    }


def life(tags: tuple[Tag, ...] = ()) -> dict[str, bytes]:
    """What somebody wanted to say."""
    later = (fragment_header(9),)
    advertisement = icmp6_frame(136, tags)
    version_at = len(advertisement) - 48
    odd = advertisement[:version_at] + b"\x50" + advertisement[version_at + 1 :]
    return {
        "icmpv6 of another ip version": odd,
        "tcp": v4_frame(PROTO_TCP, tcp(*V4, 1, 2), tags),
        "udp": v4_frame(PROTO_UDP, udp(*V4, 5353, 5353, b"who?"), tags),
        "ping": v4_frame(PROTO_ICMP, icmp_echo(1, 1), tags),
        "tcp over ipv6": v6_frame(PROTO_TCP, tcp(*V6, 1, 2), tags),
        "udp over ipv6": v6_frame(PROTO_UDP, udp(*V6, 443, 443, b"quic"), tags),
        "no next header": v6_frame(59, b"", tags),
        "later fragment": icmp6_frame(135, tags, later),
        "bpdu": bpdu(Bpdu.RSTP, tags=tags),
        "unknown": ethernet(BROADCAST, GUEST_MAC, bytes(46), 0x88B5, tags),
        **{f"icmpv6 {kind}": icmp6_frame(kind, tags) for kind in (1, 128, 129, 138, 142, 144)},
    }


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("tags", TAGS, ids=len)
def test_each_frame_sets_one_clock(programs: Programs, program: str, tags: tuple[Tag, ...]) -> None:
    """Housekeeping has clocks of its own; direction and device are those that it passes."""
    programs.add(PORT, role="port" if "guest" in program else "uplink")
    is_out = program in (TO_GUEST, TO_WIRE)
    for kinds, quiet in ((housekeeping(tags), 2), (life(tags), 0)):
        for name, frame in kinds.items():
            programs.memory.clear_clocks(programs.slot())
            programs.check(program, frame)
            clocks = programs.memory.clocks(programs.slot())
            assert [at for at, time_ns in enumerate(clocks) if time_ns] == [quiet + is_out], name


def test_the_time_is_that_of_the_monotonic_clock(programs: Programs) -> None:
    programs.add()
    for frame, at in ((ORDINARY, 0), (arp(GUEST_MAC, *V4), 2)):
        programs.memory.clear_clocks(programs.slot())
        before_ns = time.monotonic_ns()
        programs.run(FROM_GUEST, frame)
        assert before_ns < programs.memory.clocks(programs.slot())[at] < time.monotonic_ns()


def ticks(programs: Programs, *, quiet: bool) -> int:
    """The tick of the last frame from the guest."""
    name, layout, at = "tap_ports", abi.TAP_PORT, 9
    if quiet:
        name, layout, at = "tap_talks", abi.TAP_TALK, 8
    found: int = layout.unpack(programs.memory.read(name, programs.slot(), layout.size))[at]
    return found


def spoil_clock(programs: Programs, *, quiet: bool) -> None:
    """Make the time that stands there 1, and leave its tick."""
    name, size, at = ("tap_ports", abi.TAP_PORT.size, abi.TAP_PORT__SEEN_NS)
    if quiet:
        name, size, at = ("tap_talks", abi.TAP_TALK.size, abi.TAP_TALK__QUIET_NS)
    value = bytearray(programs.memory.read(name, programs.slot(), size))
    value[at : at + 8] = (1).to_bytes(8, "little")
    programs.memory.write(name, programs.slot(), bytes(value))


@pytest.mark.parametrize("quiet", [False, True], ids=["seen", "quiet"])
def test_the_first_frame_of_a_tick_is_the_one_that_stands(programs: Programs, quiet: bool) -> None:
    """A clock is dear: it is read once in a tick, and in each tick with a frame."""
    frame, at = (arp(GUEST_MAC, *V4), 2) if quiet else (ORDINARY, 0)
    programs.add()
    seen: set[str] = set()
    deadline = time.monotonic() + 20
    while seen != {"same", "later"} and time.monotonic() < deadline:
        programs.run(FROM_GUEST, frame)
        first = ticks(programs, quiet=quiet)
        spoil_clock(programs, quiet=quiet)
        programs.run(FROM_GUEST, frame)
        time_ns = programs.memory.clocks(programs.slot())[at]
        same = ticks(programs, quiet=quiet) == first
        assert (time_ns == 1) == same
        seen.add("same" if same else "later")
    assert seen == {"same", "later"}


def test_the_two_clocks_do_not_share_a_tick(programs: Programs) -> None:
    """Housekeeping in the same tick hides no sign of life, nor the other way round."""
    programs.add()
    for frame in (arp(GUEST_MAC, *V4), ORDINARY):
        programs.run(FROM_GUEST, frame)
        programs.run(TO_GUEST, frame)
    assert all(programs.memory.clocks(programs.slot()))


def test_ports_have_clocks_of_their_own(programs: Programs) -> None:
    programs.add(PORT)
    programs.add(OTHER_PORT)
    programs.run(FROM_GUEST, ORDINARY, PORT)
    assert programs.memory.clocks(programs.slot(OTHER_PORT)) == NEVER


@pytest.mark.parametrize("action", ["drop", "quarantine"])
def test_what_is_dropped_from_a_guest_is_a_sign_of_life(programs: Programs, action: str) -> None:
    programs.configure(bpdu=action, rogue_dhcp=action, vlan=action)
    for frame, at in (
        (bpdu(Bpdu.STP), 0),
        (dhcp(DhcpType.OFFER), 2),
        (ethernet(BROADCAST, GUEST_MAC, bytes(46), 0x0806, TAGS[2]), 2),
    ):
        programs.add()
        assert programs.check(FROM_GUEST, frame)
        assert programs.memory.clocks(programs.slot())[at]


@pytest.mark.parametrize("program", PROGRAMS)
def test_behind_a_latch(programs: Programs, program: str) -> None:
    """A guest that is cut still sends; what goes to it never reaches it."""
    programs.add(PORT)
    programs.add(UPLINK, role="uplink")
    programs.maps.shut_latch(programs.slot(PORT), abi.TAP_LATCH_ORDER)
    programs.model.ports[PORT].cause = "order"
    programs.model.quarantined += 1
    place = PORT if program != TO_WIRE else UPLINK
    ingress = PORT if program == TO_WIRE else 0
    frames = (ORDINARY, arp(GUEST_MAC, *V4), dhcp(DhcpType.REQUEST), dhcp6(2), bpdu(Bpdu.STP))
    for frame in frames:
        try:
            assert programs.check(program, frame, place, ingress_ifindex=ingress)
        except IngressRefusedError:
            pytest.skip("this kernel's test run cannot say where a frame came in (5.14 can)")
        is_set = any(programs.memory.clocks(programs.slot(place)))
        assert is_set == (program in (FROM_GUEST, FROM_WIRE))


def test_a_bpdu_that_dies_at_the_uplink_was_not_sent(programs: Programs) -> None:
    programs.configure(host_bpdu="drop")
    programs.add(UPLINK, role="uplink")
    assert programs.check(TO_WIRE, bpdu(Bpdu.STP), UPLINK)
    assert programs.memory.clocks(programs.slot(UPLINK)) == NEVER
    programs.configure(host_bpdu="count")
    assert not programs.check(TO_WIRE, bpdu(Bpdu.STP), UPLINK)
    assert programs.memory.clocks(programs.slot(UPLINK)).seen_out_ns


def test_frames_larger_than_the_path_set_the_same_clock(programs: Programs) -> None:
    """They are read in full, and come to the same."""
    programs.add(mtu_bytes=100)
    padding = bytes(200)
    for kinds, at in ((housekeeping(), 2), (life(), 0)):
        for name, frame in kinds.items():
            programs.check(FROM_GUEST, frame + padding)
            assert programs.memory.clocks(programs.slot())[at], name


def test_super_frames(programs: Programs) -> None:
    programs.add(mtu_bytes=1500)
    frame = tcp_frame(GUEST_MAC, BROADCAST, *V4, payload=bytes(3000))
    programs.run(FROM_GUEST, frame, segment_bytes=1448)
    assert programs.memory.clocks(programs.slot()).seen_in_ns


PLAIN_PORTS = (66, 69, 545, 548, 0x4300, 0x4400, 0x2202, 0x2302)


@pytest.mark.parametrize("port", PLAIN_PORTS)
def test_datagrams_that_are_nearly_dhcp(programs: Programs, port: int) -> None:
    """No message and no housekeeping, whichever port it is, over both protocols."""
    programs.add()
    for ports in ((port, 9), (9, port)):
        for frame in (v4_frame(17, udp(*V4, *ports, b"x")), v6_frame(17, udp(*V6, *ports, b"x"))):
            programs.check(FROM_GUEST, frame)
            assert programs.memory.clocks(programs.slot()).seen_in_ns
    swapped = v6_frame(17, udp(*V6, 67, 68, b"x")), v4_frame(17, udp(*V4, 546, 547, b"x"))
    for frame in swapped:
        programs.check(FROM_GUEST, frame)
        assert programs.memory.clocks(programs.slot()).seen_in_ns


def test_a_guest_cannot_hide_a_message_in_what_looks_plain(programs: Programs) -> None:
    """IP options, odd versions, and headers that end early are read in full."""
    programs.add()
    for frame in (
        dhcp(DhcpType.ACK, ip_options=b"\1" * 8),
        dhcp(DhcpType.ACK, ip_options=b"\1" * 40, before=PAD),
        dhcp(DhcpType.ACK)[:60],
        dhcp6(Dhcp6Type.REPLY)[:63],
    ):
        programs.check(FROM_GUEST, frame)
        assert programs.memory.clocks(programs.slot()).quiet_in_ns
    # Options that look like a UDP header of other ports.
    packet = ipv4(*V4, 17, udp(*V4, 67, 68, b"\2" * 300), options=udp(*V4, 9, 9, b""))
    programs.check(FROM_GUEST, ethernet(BROADCAST, GUEST_MAC, packet, ETHERTYPE_IPV4))
    assert programs.counts()[0]["dhcp.other"] >= 1
    assert not programs.check(FROM_GUEST, udp_frame(GUEST_MAC, BROADCAST, *V4)[:38])
