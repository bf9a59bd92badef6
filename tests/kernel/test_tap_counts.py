# SPDX-License-Identifier: Apache-2.0
"""Real taps with the real programs attached: every counter is what was sent.

Behind a tap the kernel has taken the outer tag out of the bytes, a super-frame
is one, and how much of a frame can be read at once is the guest's choice.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from itertools import product

import pytest

from sentinel.decode import decode_event
from sentinel.loader.ring import Ring
from tests.harness.dhcp import DhcpType, dhcp, dhcp_message, option
from tests.harness.frames import (
    BROADCAST,
    GUEST_MAC,
    TPID_C,
    TPID_OLD,
    TPID_S,
    Bpdu,
    Tag,
    all_bpdus,
    bpdu,
    ethernet,
    not_bpdus,
)
from tests.harness.fuzz import corpus
from tests.harness.guarded import HOOKS
from tests.harness.guarded_tap import GuardedTap
from tests.harness.packets import (
    ETHERTYPE_IPV4,
    ETHERTYPE_IPV6,
    PROTO_TCP,
    PROTO_UDP,
    arp,
    ipv4,
    ipv6,
    tcp,
    udp,
)
from tests.harness.programs import difference
from tests.harness.taps import GSO_NONE, GSO_TCPV4, GSO_TCPV6, VNET_HDR, VNET_NEEDS_CSUM, Tap
from tests.harness.waiting import wait_until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="taps and BPF need root")

TPIDS = (TPID_C, TPID_S, TPID_OLD)
STACKS = [stack for depth in range(4) for stack in product(TPIDS, repeat=depth)]
V4, V6 = ("192.0.2.9", "192.0.2.1"), ("2001:db8::9", "2001:db8::1")
TO = "52:54:00:aa:bb:cc"
GSO_UDP_L4 = 5  # virtio 1.2 § 5.1.6
BEYOND_A_PAGE = 5000
MTU = 1500


def tags_of(tpids: tuple[int, ...]) -> tuple[Tag, ...]:
    return tuple((tpid, 100 + at, 5) for at, tpid in enumerate(tpids))


def stack_name(tpids: tuple[int, ...]) -> str:
    return "-".join(f"{tpid:x}" for tpid in tpids) or "untagged"


@pytest.fixture(scope="module", params=HOOKS)
def tap(request: pytest.FixtureRequest) -> Iterator[GuardedTap]:
    with GuardedTap(hook=request.param, mtu_bytes=MTU) as guarded:
        yield guarded


@pytest.fixture(scope="module")
def vnet() -> Iterator[GuardedTap]:
    with GuardedTap(mtu_bytes=MTU, vnet_hdr=True) as guarded:
        yield guarded


@pytest.mark.parametrize(
    "tpids", STACKS, ids=lambda tpids: "-".join(f"{t:x}" for t in tpids) or "0"
)
def test_every_encapsulation(tap: GuardedTap, tpids: tuple[int, ...]) -> None:
    """One tag of 8100 or 88a8 is in metadata, the others, and 9100, in bytes."""
    tags = tags_of(tpids)
    tap.attach(tap.ifindex)
    frames = [*all_bpdus(tags=tags).values(), *not_bpdus(tags=tags).values()]
    frames += [dhcp(kind, tags=tags) for kind in DhcpType]
    frames += [dhcp(2, tags=tags, where="file", pads=9), dhcp(5, tags=tags, ip_options=b"\1" * 9)]
    frames += [
        ethernet(BROADCAST, GUEST_MAC, bytes(size), 0x0806, tags) for size in (46, 1500, 1501)
    ]
    for frame in frames:
        assert tap.write(frame)
    tap.assert_model()
    counts = tap.counts()[0]
    assert counts["frames"] == len(frames)
    assert counts["bytes"] == sum(map(len, frames))
    assert sum(n for name, n in counts.items() if name.startswith("bpdu.")) == len(Bpdu)
    assert sum(n for name, n in counts.items() if name.startswith("dhcp.")) == len(DhcpType) + 2
    assert counts["vlan_tagged"] == (len(frames) if tpids else 0)
    assert counts["vlan_nested"] == (len(frames) if len(tpids) > 1 else 0)
    assert counts["oversized"] == (1 if len(tpids) < 2 else 2)
    assert counts["oversized_by_tags"] == (0 if len(tpids) < 2 else 1)


def test_the_whole_corpus(tap: GuardedTap) -> None:
    for frame in corpus():
        tap.write(frame)
    tap.assert_model()


def test_runts(tap: GuardedTap) -> None:
    """What a tap hands on of a frame that is cut anywhere, IP and tags among them."""
    whole = [
        bpdu(Bpdu.PVST, tags=tags_of((TPID_S, TPID_C))),
        dhcp(DhcpType.OFFER, tags=tags_of((TPID_OLD,)))[:330],
        dhcp(DhcpType.OFFER)[:320],
        ethernet(BROADCAST, GUEST_MAC, b"\0\0", 0x0806, tags_of((TPID_C,) * 5)),
    ]
    for frame in whole:
        for length in range(1, len(frame)):
            tap.write(frame[:length])
    tap.assert_model()


def test_events_have_the_frame_as_it_was_on_the_wire(tap: GuardedTap) -> None:
    """The outer tag is put back where it was."""
    ring = Ring(tap.guard.maps.fd("tap_ring"))
    try:
        for tpids in STACKS:
            tap.attach(tap.ifindex)
            while ring.drain():
                pass
            frame = bpdu(Bpdu.RSTP, tags=tags_of(tpids)).ljust(200, b"\x07")
            tap.write(frame)
            tap.settled()
            event = decode_event(ring.drain()[0])
            in_metadata = 4 if tpids and tpids[0] != TPID_OLD else 0
            assert event.head == frame[: 128 + in_metadata], tpids
            assert (event.frame_bytes, event.tags) == (200, len(tpids))
    finally:
        ring.close()


@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize("tpids", [(), (TPID_C,), (TPID_S, TPID_C)])
def test_quarantine(hook: str, tpids: tuple[int, ...]) -> None:
    with GuardedTap(hook=hook, bpdu="quarantine") as tap:
        assert tap.write(arp(GUEST_MAC, *V4))
        assert tap.write(bpdu(Bpdu.STP, tags=tags_of(tpids)))
        for frame in corpus():
            tap.write(frame)
        tap.assert_model()
        assert tap.cause == "bpdu"
        assert tap.counts()[0]["dropped.quarantine"] == tap.written - 2


def header(
    linear_bytes: int, kind: int = GSO_NONE, segment_bytes: int = 0, csum_start: int = 0
) -> bytes:
    """A virtio_net_hdr whose hdr_len says how much of the frame shall be linear."""
    flags = VNET_NEEDS_CSUM if csum_start else 0
    offset = 6 if kind == GSO_UDP_L4 else 16
    return VNET_HDR.pack(
        flags, kind, linear_bytes, segment_bytes, csum_start, offset if csum_start else 0
    )


@pytest.mark.parametrize("linear_bytes", [14, 15, 18, 20, 22, 26, 34, 42, 60, 128])
def test_the_guest_chooses_what_is_linear(vnet: GuardedTap, linear_bytes: int) -> None:
    """Beyond a page hdr_len is believed: the rest of the frame lies in other pages."""
    late = dhcp_message(DhcpType.OFFER, before=option(43, bytes(200)) * 4, pads=100)
    offer = ipv4(*V4, PROTO_UDP, udp(*V4, 67, 68, late))
    for tpids in ((), (TPID_C,), (TPID_S, TPID_C), (TPID_OLD, TPID_S, TPID_C)):
        tags = tags_of(tpids)
        frames = [*all_bpdus(tags=tags).values(), *not_bpdus(tags=tags).values()]
        frames += [dhcp(DhcpType.ACK, tags=tags), ethernet(TO, GUEST_MAC, offer, 0x0800, tags)]
        for frame in frames:
            assert vnet.write(frame.ljust(BEYOND_A_PAGE, b"\0"), header(linear_bytes))
    vnet.assert_model()


def tcp_frame_of(family: int, payload_bytes: int, tags: tuple[Tag, ...]) -> tuple[bytes, int]:
    """(frame, bytes before its TCP header)."""
    if family == 4:
        packet = ipv4(*V4, PROTO_TCP, tcp(*V4, 1, 2, bytes(payload_bytes)))
        return ethernet(TO, GUEST_MAC, packet, ETHERTYPE_IPV4, tags), 14 + 4 * len(tags) + 20
    packet = ipv6(*V6, PROTO_TCP, tcp(*V6, 1, 2, bytes(payload_bytes)))
    return ethernet(TO, GUEST_MAC, packet, ETHERTYPE_IPV6, tags), 14 + 4 * len(tags) + 40


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("tpids", [(), (TPID_C,), (TPID_S, TPID_C)])
def test_tcp_super_frames(vnet: GuardedTap, family: int, tpids: tuple[int, ...]) -> None:
    """64 KB in one write: oversized only where a segment of it is."""
    kind = GSO_TCPV4 if family == 4 else GSO_TCPV6
    tags = tags_of(tpids)
    behind_first = 4 * max(len(tags) - 1, 0)
    fits = MTU - (40 if family == 4 else 60) - behind_first
    for payload_bytes, linear in product((3000, 60_000), ("headers", "least")):
        frame, transport = tcp_frame_of(family, payload_bytes, tags)
        linear_bytes = transport + 20 if linear == "headers" else 14
        for segment_bytes in (536, fits - 1, fits, fits + 1, fits + 5):
            before = vnet.settled()
            assert vnet.write(
                frame,
                header(linear_bytes, kind, segment_bytes, transport),
                segment_bytes=segment_bytes,
            )
            counted = vnet.settled() - before
            assert (counted["frames"], counted["bytes"]) == (1, len(frame))
            assert counted["oversized"] == (segment_bytes > fits), segment_bytes
    vnet.assert_model()


def test_udp_super_frames(vnet: GuardedTap) -> None:
    packet = ipv4(*V4, PROTO_UDP, udp(*V4, 40000, 40001, bytes(20_000)))
    frame = ethernet(TO, GUEST_MAC, packet, ETHERTYPE_IPV4)
    for segment_bytes in (1200, MTU - 28, MTU - 27):
        header_of_it = header(42, GSO_UDP_L4, segment_bytes, 34)
        if not vnet.write(frame, header_of_it, segment_bytes=segment_bytes):
            pytest.skip("this kernel's taps know no UDP segmentation (6.2 does)")
    vnet.assert_model()


def is_forwarding(guarded: GuardedTap, *names: str) -> bool:
    """Whether these ports of a bridge forward."""
    links = json.loads(guarded.netns.run(["bridge", "-j", "link"]).stdout)
    states = {link["ifname"]: link.get("state") for link in links}
    return all(states.get(name) == "forwarding" for name in names)


@pytest.fixture(scope="module", params=HOOKS)
def backstop(request: pytest.FixtureRequest) -> Iterator[tuple[GuardedTap, int]]:
    """A bridge with a tap that is not attached, and an uplink that is; and its ifindex."""
    with GuardedTap(hook=request.param, bpdu="drop") as guarded:
        guarded.netns.ip(
            "link add name br0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0",
            "link add name uplink0 type veth peer name wire0",
            "link set wire0 addrgenmode none up",
            "link set uplink0 addrgenmode none master br0 up",
            "link set tap0 master br0",
            "link set br0 addrgenmode none up",
        )
        # The bridge hears of a carrier by a work queue; until then it forwards nothing.
        wait_until(lambda: is_forwarding(guarded, "tap0", "uplink0"), 10, "the bridge to forward")
        uplink = guarded.netns_ifindex("uplink0")
        guarded.detach(guarded.ifindex)
        guarded.attach(uplink, "uplink")
        yield guarded, uplink


@pytest.mark.parametrize("tpids", [(), (TPID_C,), (TPID_S, TPID_C), (TPID_OLD,)])
def test_a_guest_s_bpdus_die_at_the_uplink(
    backstop: tuple[GuardedTap, int], tpids: tuple[int, ...]
) -> None:
    guarded, uplink = backstop
    guarded.attach(uplink, "uplink")
    assert guarded.tap is not None
    tags = tags_of(tpids)
    ordinary = ethernet(BROADCAST, GUEST_MAC, arp(GUEST_MAC, *V4)[14:], 0x0806, tags)
    frames = [bpdu(kind, tags=tags) for kind in Bpdu if kind != Bpdu.PROVIDER]
    for frame in (*frames, ordinary):
        guarded.tap.write(frame)
        guarded.model.frame("uplink_to_wire", uplink, frame, ingress_ifindex=guarded.ifindex)
    _, outward = guarded.counts(uplink)
    assert outward == +guarded.model.ports[uplink].outward, tpids
    assert outward["dropped.bpdu"] == len(frames)
    assert outward["frames"] == len(frames) + 1


def test_the_host_s_own_pass_at_the_uplink(backstop: tuple[GuardedTap, int]) -> None:
    guarded, uplink = backstop
    guarded.attach(uplink, "uplink")
    with (
        guarded.netns.enter(),
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as raw,
    ):
        for frame in all_bpdus().values():
            raw.sendto(frame, ("uplink0", 0))
    _, outward = guarded.counts(uplink)
    assert outward["bpdu_host"] == outward["frames"] == len(Bpdu)
    assert "dropped.bpdu" not in outward


@pytest.mark.parametrize("hook", HOOKS)
def test_towards_a_guest(hook: str) -> None:
    """What a neighbour floods is counted as it leaves for the guest, tags and all."""
    with GuardedTap(hook=hook, mtu_bytes=MTU) as sender, Tap("tap1", sender.netns) as receiver:
        sender.netns.ip(
            "link add name br0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0",
            "link set tap0 master br0",
            "link set br0 addrgenmode none up",
        )
        receiver.up(master="br0")
        wait_until(lambda: is_forwarding(sender, "tap0", "tap1"), 10, "the bridge to forward")
        index = sender.netns_ifindex("tap1")
        sender.attach(index)
        for tpids in STACKS:
            tags = tags_of(tpids)
            for frame in (
                *(bpdu(kind, tags=tags) for kind in Bpdu if kind != Bpdu.PROVIDER),
                *(dhcp(kind, tags=tags) for kind in DhcpType),
                ethernet(
                    BROADCAST, GUEST_MAC, bytes(MTU - 4 * max(0, len(tags) - 1)), 0x0806, tags
                ),
            ):
                assert sender.write(frame)
                sender.model.frame("tap_to_guest", index, frame, untagged=True)
        sender.assert_model()
        _, outward = sender.counts(index)
        expected = +sender.model.ports[index].outward
        assert outward == expected, difference(outward, expected)
        assert outward["frames"] == sender.written
