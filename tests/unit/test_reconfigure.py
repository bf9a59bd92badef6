# SPDX-License-Identifier: Apache-2.0
"""Parts that take another configuration: from then on they are as if made with it."""

from __future__ import annotations

import asyncio
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from sentinel import event as events
from sentinel.audit.incidents import AuditIncidents
from sentinel.config import EventsConfig, JournalConfig, PortsConfig, TrustRule, parse_config
from sentinel.effect import IncidentKeys, Keep, Log
from sentinel.engine import Engine
from sentinel.event import Kind
from sentinel.event_gate import BURST_S, EventGate
from sentinel.inventory import Appeared, Changed, Gone, Inventory, LinkFacts
from sentinel.scribe import Scribe
from sentinel.vm import VmIdentity
from tests.harness.cut_facts import NOW, SECOND, device, latch_seen, record
from tests.harness.journals import NOON_NS, event, open_journal
from tests.unit.test_audit_incidents import START, finding

BRIDGE = LinkFacts(10, "br0", "bridge", mac="02:00:00:00:00:10")
NIC = LinkFacts(2, "eth0", "", mac="02:00:00:00:00:02", master=10, mtu_bytes=1600)
OTHER = LinkFacts(3, "eth1", "", mac="02:00:00:00:00:03", master=10)
VM = VmIdentity("6c1f5c1e-93a3-4d09-a1a8-5be2a1c7d0f2", "i-1", "ovs", mac="fa:16:3e:24:e7:22")


def tap(ifindex: int, name: str) -> LinkFacts:
    mac = f"fe:16:3e:00:00:{ifindex:02x}"
    return LinkFacts(ifindex, name, "tun", "tap", mac=mac, master=10, mtu_bytes=1500)


LINKS = [BRIDGE, NIC, OTHER, tap(20, "tap20"), tap(21, "tap21"), tap(22, "vnet0")]
PORTS = st.builds(
    PortsConfig,
    include=st.sampled_from([("tap*",), ("tap*", "vnet*"), ("tap20", "vnet0"), ("*",), ("x",)]),
    exclude=st.sampled_from([(), ("tap21",), ("tap2*",)]),
    uplinks=st.sampled_from([(), ("eth0",), ("eth1",), ("eth0", "tap21"), ("gone",)]),
    trusted=st.sampled_from(
        [
            (),
            (TrustRule(name="tap*", checks=("bpdu",)),),
            (TrustRule(vm="i-1", checks=("vlan", "size")),),
            (TrustRule(mac="fe:16:3e:00:00:16", checks=("bpdu",)),),
        ]
    ),
    any_kind=st.booleans(),
)
WANTED = st.tuples(
    PORTS, st.sampled_from([None, 1450, 9000]), st.sampled_from([frozenset[int](), frozenset({7})])
)


@settings(max_examples=200, deadline=None)
@given(WANTED, WANTED)
def test_an_inventory_is_as_if_made_with_it_and_says_what_changed(
    first: tuple[PortsConfig, int | None, frozenset[int]],
    second: tuple[PortsConfig, int | None, frozenset[int]],
) -> None:
    made, fresh = Inventory(*first), Inventory(*second)
    for one in (made, fresh):
        one.replace_links(LINKS)
        one.set_identity(20, VM)
    mirror = dict(made.devices())
    made.paths()
    for change in made.reconfigure(*second):
        match change:
            case Gone(old):
                assert mirror.pop(old.ifindex) == old
            case Appeared(new):
                assert new.ifindex not in mirror
                mirror[new.ifindex] = new
            case Changed(new, old):
                assert mirror[new.ifindex] == old
                mirror[new.ifindex] = new
            case _:
                raise AssertionError(change)
    assert mirror == made.devices() == fresh.devices()
    assert made.paths() == fresh.paths()
    # And it goes on so, whatever comes.
    for link in (tap(23, "tap23"), LinkFacts(4, "eth2", "", master=10)):
        assert made.update_link(link) == fresh.update_link(link)
    assert made.devices() == fresh.devices()
    assert made.reconfigure(*second) == []


def test_an_engine_goes_on_with_what_is_cut_and_open() -> None:
    known = {7: device()}
    core = Engine(parse_config('[checks.bpdu]\naction = "quarantine"', "c"), known)
    (opened, *_) = core.record(record(), NOW)
    assert isinstance(opened, Keep)
    assert opened.incident.action == "quarantine"
    list(core.latch(latch_seen()))
    held = core.cuts.active(7)
    assert held is not None
    other = parse_config('[hold]\ninitial = "1s"\nmax = "1s"', "c")
    core.reconfigure(other)
    assert core.hold == other.hold
    assert core.cuts.active(7) == held
    assert len(core.incidents) == 1
    assert list(core.tick(NOW + 100 * SECOND)) == [], "its own hold, not the new one"
    list(core.release(known[7], "", 0, NOW))
    list(core.latch(latch_seen()))
    again = core.cuts.active(7)
    assert again is not None
    assert again.hold_ns is not None
    assert again.hold_ns <= SECOND


def test_the_fuse_is_told_of_again_after_a_change() -> None:
    text = '[checks.bpdu]\naction = "quarantine"\n[fuse]\nmax_quarantined = {}'
    core = Engine(parse_config(text.format(1), "c"), {7: device()})

    def refusals() -> list[object]:
        effects = core.record(record(verdict="fused"), NOW)
        return [
            one.event.body["limit"]
            for one in effects
            if isinstance(one, Log) and one.event.kind == Kind.QUARANTINE_REFUSED
        ]

    assert (refusals(), refusals()) == ([1], [])
    core.reconfigure(parse_config(text.format(2), "c"))
    assert (refusals(), refusals()) == ([2], [])


def test_an_audit_s_incident_closes_when_its_finding_is_accepted() -> None:
    book = AuditIncidents(IncidentKeys().new)
    assert len(list(book.settle([finding()], START))) == 1
    book.accept(["vlan-on-vlan/*"])
    kinds = [
        one.kind
        for after in range(120)
        for one in book.settle([finding()], START + after * SECOND)
        if isinstance(one, Keep)
    ]
    assert kinds == [Kind.INCIDENT_CLOSED]


def test_a_gate_has_another_rate_and_forgets_nothing() -> None:
    gate = EventGate(1, 1000)
    gone = events.port_gone(NOON_NS, "tap0", 7, None, role="port")
    assert len(gate.admit([gone] * 50, 1)) == BURST_S
    gate.set_rates(100, 1000)
    assert gate.holds == 1
    (told,) = gate.admit([], 1 + SECOND)
    assert told.body["stands_for"] == 50 - BURST_S
    assert len(gate.admit([gone] * 50, 1 + 2 * SECOND)) == 50


def test_a_scribe_s_rates_and_its_journal_s_bounds(tmp_path: Path) -> None:
    async def play() -> tuple[int, int]:
        journal = open_journal(tmp_path / "journal.db", max_size=64_000_000)
        scribe = Scribe(journal, lambda: None, EventsConfig(log_per_port_per_second=1))
        scribe.start()
        gone = events.port_gone(NOON_NS, "tap0", 7, None, role="port")
        await scribe.persist([Log(gone)] * 50)
        scribe.reconfigure(
            EventsConfig(log_per_port_per_second=10_000),
            JournalConfig(max_age_ns=SECOND, max_size_bytes=1_000_000),
        )
        few = scribe.coalesced
        other = events.port_gone(NOON_NS, "tap1", 8, None, role="port")
        await scribe.persist([Log(other)] * 400)
        assert scribe.coalesced <= few + 1
        for start in range(0, 1000, 100):
            await scribe.persist([Log(event(start + at, padding=5000)) for at in range(100)])
        size = (await scribe.ask(lambda kept: kept.status())).size_bytes
        for _ in range(200):
            await scribe.tend(NOON_NS + 10 * SECOND, is_due=True)
        left = await scribe.ask(lambda kept: kept.events_after(0))
        await scribe.stop()
        return size, len(left)

    size, left = asyncio.run(play())
    assert size <= 1_100_000
    assert left == 0, "all is older than the new bound"
