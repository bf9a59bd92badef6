# SPDX-License-Identifier: Apache-2.0
"""Every kind of event has its maker, and every event can be told as JSON."""

from __future__ import annotations

from dataclasses import fields

import msgspec
import orjson

from sentinel import event as ev
from sentinel import event_bodies as bodies
from sentinel.config import Config
from sentinel.errors import ConfigError
from sentinel.event import Entry, Event, Kind, Moment
from sentinel.event_bodies import ConfigChange
from sentinel.event_carried import (
    notice_forgotten,
    notice_issued,
    notice_matched,
    notice_taken,
    order_done,
    refused,
)
from sentinel.event_config import Asker, config_loaded, config_refused
from sentinel.journal_epochs import Epochs
from sentinel.journal_gaps import gap
from sentinel.refusals import Refusal
from sentinel.vm import UNKNOWN_VM
from tests.harness.carried_facts import an_order, notice
from tests.harness.journals import NOON_NS, VM, incident, quarantine

PORT = (NOON_NS, "tap0", 7, VM)


def all_events() -> list[Event]:
    return [
        ev.port_appeared(*PORT, role="port"),
        gap(3, 7, Epochs(ev.NO_EPOCH), 1).event,
        ev.port_gone(*PORT, role="port"),
        ev.port_renamed(*PORT, old_name="tap9"),
        ev.guard_attached(*PORT, role="port", hook="tcx", adopted=True),
        ev.guard_failed(*PORT, role="uplink", problem="EEXIST"),
        ev.incident_opened(incident(id=3)),
        ev.incident_updated(incident(id=3)),
        ev.incident_closed(incident(id=3, closed_wall_ns=NOON_NS + 9)),
        ev.quarantine_set(quarantine()),
        ev.quarantine_released(NOON_NS, quarantine(), by="order", uid=1000, reason="mended"),
        ev.quarantine_refused(*PORT, cause="bpdu", problem="the fuse", quarantined=1, limit=1),
        ev.order_refused(NOON_NS, order="release", uid=1, gid=2, pid=3, problem="not root"),
        ev.daemon_started(NOON_NS, version="0.1.0", pid=1, adopted=2),
        ev.daemon_stopped(NOON_NS, reason="SIGTERM"),
        ev.journal_damaged(NOON_NS, problem="no database", aside="/x", salvaged=3),
        ev.journal_full(NOON_NS, problem="no room"),
        ev.journal_recovered(NOON_NS, waited_ns=1, kept=2, lost=3),
        config_loaded(
            NOON_NS,
            "/etc/x.toml",
            Config(),
            [ConfigChange("hold.max", "1d", "2d")],
            Asker("order", 1000, 7),
        ),
        config_refused(
            NOON_NS, ConfigError("/etc/x.toml", "hold.max", "is no duration"), Asker("SIGHUP")
        ),
        order_done(NOON_NS, an_order(), "broker:8883", changed=True),
        refused(NOON_NS, Refusal("notice", "hv-2", "", "", "broker", None, "no notice", 3)),
        notice_issued(notice(), "tap0", 7, VM),
        notice_taken(NOON_NS, notice(), "count"),
        notice_matched(NOON_NS, notice(), "quarantine", "tap0", 7, VM),
        notice_forgotten(NOON_NS, notice(), "tap0", VM),
    ]


def test_every_kind_has_a_maker() -> None:
    assert {made.kind for made in all_events()} == set(Kind)


def test_every_event_is_json_with_the_same_keys() -> None:
    for seq, made in enumerate(all_events(), 1):
        told = orjson.loads(orjson.dumps(Entry(seq, made).to_dict()))
        assert list(told) == [
            "seq",
            "kind",
            "time_ns",
            "port",
            "ifindex",
            "vm",
            "body",
            "id",
            "host",
            "time",
            "version",
        ]
        assert told["seq"] == seq
        assert isinstance(told["body"], dict)


def test_an_incident_is_told_with_the_time_of_what_happened() -> None:
    facts = incident(
        id=3,
        opened_wall_ns=1,
        updated_wall_ns=2,
        closed_wall_ns=3,
        evidence=(Moment(1, "tap0", "BPDU"),),
    )
    assert ev.incident_opened(facts).time_ns == 1
    assert ev.incident_updated(facts).time_ns == 2
    assert ev.incident_closed(facts).time_ns == 3
    told = ev.incident_opened(facts)
    assert (told.port, told.ifindex, told.vm) == ("tap0", 7, VM)
    assert told.body["id"] == 3
    assert orjson.loads(orjson.dumps(told.body["evidence"])) == [
        {"time_ns": 1, "place": "tap0", "text": "BPDU"}
    ]
    assert told.body["frames"] == 1_000_000
    assert "port" not in told.body


def test_a_cut_is_told_in_plain_words() -> None:
    assert ev.quarantine_set(quarantine()).body["message"] == (
        "cut by the bpdu check for 5m: the first BPDU"
    )
    ordered = quarantine(cause="order", uid=1000, hold_ns=None, until_wall_ns=None, reason="")
    assert (
        ev.quarantine_set(ordered).body["message"] == "cut by an order of uid 1000 until released"
    )
    again = ev.quarantine_set(ordered, changed=False, time_ns=NOON_NS + 5)
    assert again.body["message"] == "stays cut by an order of uid 1000 until released"
    assert again.time_ns == NOON_NS + 5
    released = ev.quarantine_released(NOON_NS, ordered, by="hold")
    assert released.body["message"] == "released: the hold is over"
    idle = ev.release_idle(NOON_NS, "tap0", 7, UNKNOWN_VM, uid=5, reason="to be sure")
    assert idle.body["changed"] is False
    assert idle.body["message"] == "was not cut; release ordered by uid 5: to be sure"


def test_what_comes_from_outside_is_bounded() -> None:
    long = "x" * 100_000
    for made in (
        ev.quarantine_set(quarantine(reason=long)),
        ev.order_refused(NOON_NS, order=long, uid=1, gid=1, pid=1, problem=long),
        ev.guard_failed(*PORT, role="port", problem=long),
    ):
        assert len(orjson.dumps(made.body)) < 5 * ev.LONGEST_TEXT_CHARS


def test_a_moment_is_told_in_utc_to_the_nanosecond() -> None:
    assert ev.rfc3339(1_700_000_000_123_456_789) == "2023-11-14T22:13:20.123456789Z"
    assert ev.rfc3339(0) == "1970-01-01T00:00:00.000000000Z"
    assert ev.rfc3339(-1) == ev.rfc3339(1 << 62 << 10) == "1970-01-01T00:00:00.000000000Z"


def test_every_body_is_of_its_kind_s_type() -> None:
    """Strictly: nothing is missing, nothing is beside, nothing is of another type."""
    assert set(bodies.BODIES) == set(Kind)
    for made in all_events():
        fitting = []
        for kind in bodies.BODIES[made.kind]:
            names = [field.name for field in fields(kind)]
            try:
                msgspec.convert(orjson.loads(orjson.dumps(made.body)), kind)
            except msgspec.ValidationError:
                continue
            if list(made.body) == names:
                fitting.append(kind)
        assert len(fitting) == 1, made


def test_an_incident_s_body_has_all_of_it_but_whose_it_is() -> None:
    beside = {"port", "ifindex", "vm"}
    names = {field.name for field in fields(ev.Incident)} - beside
    assert {field.name for field in fields(bodies.IncidentState)} == names
