# SPDX-License-Identifier: Apache-2.0
"""Envelopes are CloudEvents 1.0, and fit the documents that are committed."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sentinel import event_bodies as bodies
from sentinel.cloud_event import envelope_of
from sentinel.event import Entry, Epoch, Event
from sentinel.mqtt import documents
from tests.harness.canned_control import port
from tests.unit.test_event import all_events
from tools import generate_events

EPOCH = Epoch("0123456789abcdef", "hv-1")
DOCS = Path(__file__).parents[2] / "docs" / "events"


def envelope(made: Event, seq: int = 7) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(json.dumps(Entry(seq, made, EPOCH).to_dict()))
    return envelope_of(told)


@pytest.mark.parametrize("made", all_events(), ids=lambda made: str(made.kind))
def test_every_event_fits_the_specification(made: Event) -> None:
    told = envelope(made)
    assert told["specversion"] == "1.0"
    # Context attributes: lower-case letters and digits; strings that are not empty (§3).
    for name, value in told.items():
        assert re.fullmatch("[a-z0-9]{1,20}", name)
        if name != "data":
            assert isinstance(value, str)
            assert value
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z", told["time"])
    assert ("subject" in told) == (made.port is not None)
    assert told["type"] == f"tapsentinel.{made.kind}"
    assert told["id"] == "0123456789abcdef-7"


@pytest.mark.parametrize("made", all_events(), ids=lambda made: str(made.kind))
def test_every_event_fits_its_schema(made: Event) -> None:
    told = envelope(made)
    schema = json.loads((DOCS / f"{made.kind}.json").read_text())
    assert schema["$id"] == told["dataschema"]
    assert set(schema["required"]) <= set(told) <= set(schema["properties"])
    for name, rule in schema["properties"].items():
        if "const" in rule:
            assert told[name] == rule["const"]
        if "pattern" in rule:
            assert re.search(rule["pattern"], told[name])
    data = schema["properties"]["data"]
    assert set(data["required"]) == set(told["data"])
    names = [set(schema["$defs"][kind.__name__]["required"]) for kind in bodies.BODIES[made.kind]]
    assert set(told["data"]["body"]) in names


def test_sequence_sorts_as_text() -> None:
    made = all_events()[0]
    told = [envelope(made, seq)["sequence"] for seq in (9, 10, 99, 10**15)]
    assert told == sorted(told)


def test_hostile_names_make_a_uri_and_text() -> None:
    odd = Entry(1, Event("port.gone", 0, "tap\x1b[2J\n", 1, None, {}), Epoch("a" * 16, "ho st/ü"))
    told = envelope_of(odd.to_dict())
    assert told["source"] == "/tapsentinel/ho%20st%2F%C3%BC"
    assert told["subject"] == "tap\x1b[2J\n"


def test_the_committed_documents_are_those_of_the_types() -> None:
    assert generate_events.drift(generate_events.render()) == [], "run `make events`"


def test_a_member_more_is_drift(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(bodies.BODIES, "port.gone", (bodies.Renamed,))
    monkeypatch.setitem(bodies.BODIES, "port.lost", (bodies.Device,))
    drift = generate_events.drift(generate_events.render())
    assert drift == ["asyncapi.json", "port.gone.json", "port.lost.json"]


def test_asyncapi_names_every_topic_and_every_file() -> None:
    document = json.loads((DOCS / "asyncapi.json").read_text())
    assert document["asyncapi"].startswith("3.")
    addresses = {one["address"] for one in document["channels"].values()}
    assert {f"tapsentinel/{{host}}/events/{kind}" for kind in bodies.BODIES} < addresses
    assert {"tapsentinel/{host}/status", "tapsentinel/{host}/ports/{port}"} < addresses
    for operation in document["operations"].values():
        assert operation["channel"]["$ref"].removeprefix("#/channels/") in document["channels"]
    for message in document["components"]["messages"].values():
        assert (DOCS / message["payload"]["$ref"]).is_file()


def test_documents_are_of_their_types() -> None:
    one = port("tap0", 7, mac="fa:16:3e:24:e7:22", problem="x")
    state = documents.port_document("hv-1", one)
    msgspec.convert(state | {"trusted_checks": []}, documents.PortDocument)
    assert "counters" not in state
