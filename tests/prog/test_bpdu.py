# SPDX-License-Identifier: Apache-2.0
"""Which frame is a BPDU, of which kind, and what becomes of it at a port and at the uplink."""

from __future__ import annotations

import struct
from itertools import product

import pytest

from tests.harness.frames import (
    BRIDGE_GROUP,
    CISCO_OUI,
    GUEST_MAC,
    PROVIDER_BRIDGE_GROUP,
    PVST_GROUP,
    TPID_C,
    TPID_OLD,
    TPID_S,
    Bpdu,
    Tag,
    bpdu,
    config_body,
    ethernet,
    llc,
    not_bpdus,
    snap,
)
from tests.harness.programs import (
    FROM_GUEST,
    FROM_WIRE,
    PORT,
    PROGRAMS,
    TO_GUEST,
    TO_WIRE,
    UNWATCHED,
    UPLINK,
    IngressRefusedError,
    Programs,
)

KIND = {
    Bpdu.STP: "stp", Bpdu.TCN: "stp", Bpdu.RSTP: "rstp", Bpdu.MSTP: "mstp", Bpdu.SPB: "other",
    Bpdu.PROVIDER: "rstp", Bpdu.PVST: "pvst", Bpdu.RPVST: "pvst", Bpdu.VLAN_BRIDGE: "pvst",
}  # fmt: skip
TPIDS = (TPID_C, TPID_S, TPID_OLD)
MIXED = ((TPID_S, TPID_C), (TPID_OLD, TPID_C), (TPID_S, TPID_C, TPID_C), (TPID_S, TPID_OLD, TPID_C))
STACKS = [(), *((tpid,) * depth for depth, tpid in product((1, 2, 3), TPIDS)), *MIXED]
BODY = config_body(GUEST_MAC)


def tags_of(tpids: tuple[int, ...]) -> tuple[Tag, ...]:
    return tuple((tpid, 100 + at, 3) for at, tpid in enumerate(tpids))


def stack_name(tpids: tuple[int, ...]) -> str:
    return "-".join(f"{tpid:x}" for tpid in tpids) or "untagged"


def framed(payload: bytes, dst: str = BRIDGE_GROUP, ethertype: int | None = None) -> bytes:
    return ethernet(dst, GUEST_MAC, payload, ethertype)


@pytest.mark.parametrize("tpids", STACKS, ids=stack_name)
@pytest.mark.parametrize("kind", Bpdu)
def test_every_encapsulation(programs: Programs, kind: Bpdu, tpids: tuple[int, ...]) -> None:
    frame = bpdu(kind, tags=tags_of(tpids))
    counted = {f"bpdu.{KIND[kind]}": 1, "frames": 1, "bytes": len(frame), "events_told": 1}
    if tpids:
        counted["vlan_tagged"] = 1
    if len(tpids) > 1:
        counted["vlan_nested"] = 1
        counted["events_told"] = 2  # two tags offend another check
    for action in ("count", "drop", "quarantine"):
        programs.configure(bpdu=action)
        programs.add()
        dropped = programs.check(FROM_GUEST, frame)
        expected = dict(counted)
        if action != "count":
            expected |= {"dropped.bpdu": 1, "events_told": 1}
        assert dropped == (action != "count")
        assert programs.counts()[0] == expected
        assert programs.cause() == ("bpdu" if action == "quarantine" else None)


@pytest.mark.parametrize("tpids", STACKS, ids=stack_name)
def test_neighbours_of_bpdus_pass(programs: Programs, tpids: tuple[int, ...]) -> None:
    programs.configure(bpdu="quarantine", host_bpdu="drop")
    programs.add()
    programs.add(UPLINK, role="uplink")
    for name, frame in not_bpdus(tags=tags_of(tpids)).items():
        assert not programs.check(FROM_GUEST, frame), name
        assert not programs.check(TO_WIRE, frame, UPLINK), name
    inward, _ = programs.counts()
    assert not [counter for counter in inward if counter.startswith(("bpdu", "dropped"))]


LOOKALIKES = {
    "poll bit": (framed(llc(BODY, control=0x13)), "stp"),
    "response": (framed(llc(BODY, ssap=0x43)), "stp"),
    "any source SAP": (framed(llc(BODY, ssap=0x00)), "stp"),
    "information frame": (framed(llc(b"\0" + BODY, control=0x00)), "stp"),
    "a bridge of somebody's": (framed(llc(BODY), "52:54:00:aa:bb:cc"), "stp"),
    "nearest bridge group": (framed(llc(BODY), "01:80:c2:00:00:0e"), "stp"),
    "length of 0": (framed(llc(BODY), ethertype=0), "stp"),
    "length of 2": (framed(llc(BODY), ethertype=2), "stp"),
    "length that lies": (framed(llc(BODY), ethertype=1500), "stp"),
    "length that is none": (framed(llc(BODY), ethertype=0x5FF), "stp"),
    "jumbo LLC": (framed(llc(BODY), ethertype=0x8870), "stp"),
    "no LLC": (framed(BODY, ethertype=0x8181), "stp"),
    "no LLC behind SNAP": (framed(snap(bytes(3), 0x8181, BODY)), "stp"),
    "bridged PDU": (framed(snap(bytes.fromhex("0080c2"), 0x000E, BODY)), "stp"),
    "protocol 1": (framed(llc(b"\0\x01" + BODY[2:])), "other"),
    "protocol 1 to provider bridges": (
        framed(llc(b"\0\x01" + BODY[2:]), PROVIDER_BRIDGE_GROUP), "other"),
    "version 1": (framed(llc(config_body(GUEST_MAC, 1))), "other"),
    "version 2, type 0": (framed(llc(config_body(GUEST_MAC, 2, 0))), "other"),
    "version 3, type 2": (framed(llc(config_body(GUEST_MAC, 3, 2))), "mstp"),
    "version 4, type 2": (framed(llc(config_body(GUEST_MAC, 4, 2))), "other"),
    "version 9": (framed(llc(config_body(GUEST_MAC, 9, 2))), "other"),
    "PVST+ to the bridges": (framed(snap(CISCO_OUI, 0x010B, BODY)), "pvst"),
    "PVST+ with the poll bit": (
        framed(bytes.fromhex("aaaa13") + CISCO_OUI + b"\x01\x0b" + BODY), "pvst"),
    "cut behind LLC": (framed(llc(BODY))[:17], "other"),
    "cut inside of the header": (framed(llc(BODY))[:20], "other"),
    "cut behind SNAP": (framed(snap(CISCO_OUI, 0x010B, BODY), PVST_GROUP)[:22], "pvst"),
}  # fmt: skip


@pytest.mark.parametrize("name", LOOKALIKES)
def test_what_anybody_could_take_for_one(programs: Programs, name: str) -> None:
    frame, kind = LOOKALIKES[name]
    programs.configure(bpdu="drop")
    programs.add()
    assert programs.check(FROM_GUEST, frame)
    assert programs.counts()[0][f"bpdu.{kind}"] == 1


NONE_AT_ALL = {
    "group DSAP": framed(llc(BODY, dsap=0x43)),
    "null DSAP": framed(llc(BODY, dsap=0x00)),
    "supervisory": framed(llc(BODY, control=0x01)),
    "XID": framed(llc(BODY, control=0xAF)),
    "TEST": framed(llc(BODY, control=0xE3)),
    "SNAP of another SAP": framed(bytes.fromhex("aaab03") + CISCO_OUI + b"\x01\x0b" + BODY),
    "another maker": framed(snap(bytes.fromhex("00000b"), 0x010B, BODY), PVST_GROUP),
    "another protocol": framed(snap(CISCO_OUI, 0x010D, BODY), PVST_GROUP),
    "cut inside of LLC": framed(llc(BODY))[:16],
    "cut inside of SNAP": framed(snap(CISCO_OUI, 0x010B, BODY), PVST_GROUP)[:21],
    "STP's bytes behind another type": framed(llc(BODY), ethertype=0x88B5),
    "GMRP of protocol 0": framed(llc(BODY), "01:80:c2:00:00:20"),
    "the last of GARP": framed(llc(BODY), "01:80:c2:00:00:2f"),
    "GVRP between providers": framed(llc(b"\0\x01" + BODY[2:]), "01:80:c2:00:00:0d"),
    "TPID that is none": ethernet(BRIDGE_GROUP, GUEST_MAC, b"\0\x05\0\x26" + llc(BODY), 0x9200),
}


@pytest.mark.parametrize("name", NONE_AT_ALL)
def test_what_nobody_takes_for_one(programs: Programs, name: str) -> None:
    programs.configure(bpdu="quarantine")
    programs.add()
    assert not programs.check(FROM_GUEST, NONE_AT_ALL[name])
    assert not [counter for counter in programs.counts()[0] if counter.startswith("bpdu")]


def test_every_group_address_of_802_1(programs: Programs) -> None:
    """Of 256 addresses only GARP's are spared, and :0d for its own protocol."""
    programs.add()
    for last, protocol in product(range(256), (0, 1)):
        frame = framed(llc(struct.pack("!H", protocol) + BODY[2:]), f"01:80:c2:00:00:{last:02x}")
        before = programs.counts()[0]
        programs.check(FROM_GUEST, frame)
        counted = programs.counts()[0] - before
        spared = 0x20 <= last <= 0x2F or (last == 0x0D and protocol == 1)
        assert bool(counted["bpdu.stp"] + counted["bpdu.other"]) != spared, (last, protocol)


@pytest.mark.parametrize("program", [TO_GUEST, FROM_WIRE])
def test_frames_towards_guests_are_counted_and_pass(programs: Programs, program: str) -> None:
    programs.configure(bpdu="quarantine", host_bpdu="drop")
    programs.add(PORT, role="port" if program == TO_GUEST else "uplink")
    for kind in Bpdu:
        assert not programs.check(program, bpdu(kind))
    counts = programs.counts()[1 if program == TO_GUEST else 0]
    assert sum(n for counter, n in counts.items() if counter.startswith("bpdu.")) == len(Bpdu)
    assert "events_told" not in counts


@pytest.mark.parametrize("action", ["count", "drop"])
@pytest.mark.parametrize("kind", Bpdu)
def test_the_host_s_own_at_the_uplink(programs: Programs, kind: Bpdu, action: str) -> None:
    """Counted apart, and not judged by the check that guests are judged by."""
    programs.configure(bpdu="quarantine", host_bpdu=action)
    programs.add(UPLINK, role="uplink")
    assert programs.check(TO_WIRE, bpdu(kind), UPLINK) == (action == "drop")
    _, outward = programs.counts(UPLINK)
    assert outward["bpdu_host"] == 1
    assert outward["dropped.bpdu"] == (action == "drop")


def check_uplink(programs: Programs, frame: bytes, ingress_ifindex: int) -> bool:
    try:
        return programs.check(TO_WIRE, frame, UPLINK, ingress_ifindex=ingress_ifindex)
    except IngressRefusedError:
        pytest.skip("this kernel's test run cannot say where a frame came in (5.14 can)")


@pytest.mark.parametrize("kind", Bpdu)
def test_backstop_for_a_tap_without_a_slot(programs: Programs, kind: Bpdu) -> None:
    programs.add(UPLINK, role="uplink")
    assert not check_uplink(programs, bpdu(kind), UNWATCHED)
    for action in ("drop", "quarantine"):
        programs.configure(bpdu=action)
        assert check_uplink(programs, bpdu(kind), UNWATCHED)
    _, outward = programs.counts(UPLINK)
    assert (outward[f"bpdu.{KIND[kind]}"], outward["dropped.bpdu"]) == (3, 2)


def test_backstop_shuts_the_port_that_the_frame_came_from(programs: Programs) -> None:
    programs.configure(bpdu="quarantine")
    programs.add(UPLINK, role="uplink")
    programs.add(PORT)
    assert check_uplink(programs, bpdu(Bpdu.RSTP), PORT)
    assert programs.cause(PORT) == "bpdu"
    assert programs.cause(UPLINK) is None
    plain = ethernet("52:54:00:aa:bb:cc", GUEST_MAC, bytes(46), 0x0806)
    assert check_uplink(programs, plain, PORT)
    assert programs.check(FROM_GUEST, plain)
    assert programs.counts(UPLINK)[1]["dropped.quarantine"] == 1


def test_what_another_uplink_forwards_is_no_guest_s(programs: Programs) -> None:
    programs.configure(bpdu="quarantine", host_bpdu="drop")
    programs.add(UPLINK, role="uplink")
    programs.add(PORT, role="uplink")
    assert not check_uplink(programs, bpdu(Bpdu.RSTP), PORT)
    assert programs.counts(UPLINK)[1]["bpdu.rstp"] == 1


def test_a_trusted_port_s_at_the_uplink(programs: Programs) -> None:
    programs.configure(bpdu="quarantine")
    programs.add(UPLINK, role="uplink")
    programs.add(PORT, trusted=["bpdu"])
    assert not check_uplink(programs, bpdu(Bpdu.PVST), PORT)


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_device_without_a_slot_is_left_alone(programs: Programs, program: str) -> None:
    programs.configure(bpdu="quarantine", host_bpdu="drop")
    assert not programs.check(program, bpdu(Bpdu.STP), UNWATCHED)
