# SPDX-License-Identifier: Apache-2.0
"""Clients as the journal keeps them: through another clock, another version, a bad disk."""

from __future__ import annotations

import copy
from dataclasses import fields, is_dataclass
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentinel import abi
from sentinel.dhcp.client import Client
from sentinel.dhcp.step import INFINITE_NS, Act
from sentinel.dhcp.store import break_off, dump, is_worth_keeping, key_of, load
from sentinel.journal_rows import LARGEST_LEASE_BYTES, LONGEST_KEY_CHARS, lease_row
from tests.harness.dhcp_steps import MAC, PORT, SECOND, client, leased, renewed, step

OFFSET = 1_790_000_000 * SECOND


def through_the_journal(state: object) -> Any:
    return orjson.loads(orjson.dumps(state))


def rich() -> Client:
    """Something in every member."""
    found = client(
        *leased(host_name="web", client_id="01aa", vid=7, relay="10.0.0.254"),
        *renewed(30), *renewed(60, 3), *renewed(68, 3),
        step(Act.ACK, 69, xid=3, role="uplink"),
        step(Act.NAK, 69.5, xid=3, role="uplink", note="no"),
    )  # fmt: skip
    found.naks, found.nak_count = [5 * SECOND, 9 * SECOND], 2
    found.declined_ns, found.declines, found.declined = 7 * SECOND, 1, "10.0.0.9"
    lost = client(*leased(), step(Act.RENEW, 30, xid=2), step(Act.RENEW, 40, xid=2, passed=False))
    lost.lose(70 * SECOND)
    found.loss = lost.loss
    return found


def test_there_and_back() -> None:
    before = rich()
    state = through_the_journal(dump(before, OFFSET))
    after = load(state, OFFSET)
    assert after is not None
    before.is_changed = False
    assert after == before


def times(value: object, name: str = "") -> dict[str, int]:
    """Every number whose name says that it is a time, by its path."""
    if is_dataclass(value):
        found: dict[str, int] = {}
        for field in fields(value):
            found |= times(getattr(value, field.name), f"{name}.{field.name}")
        return found
    if isinstance(value, list):
        return {
            path: at
            for place, item in enumerate(value)
            for path, at in times(item, f"{name}.{place}").items()
        }
    is_time = name.endswith("_ns") or ".naks." in name
    return {name: value} if is_time and isinstance(value, int) else {}


def test_every_time_is_moved_and_no_span_is() -> None:
    """By the names of all members, so that none that is added is forgotten."""
    before = rich()
    boot_ns = 1_000_000 * SECOND
    after = load(through_the_journal(dump(before, OFFSET)), OFFSET + boot_ns)
    assert after is not None
    spans = {"lease_ns", "t1_ns", "t2_ns", "gap_ns"}
    moved = times(after)
    assert times(before).keys() == moved.keys()
    assert len(moved) > 60
    for path, at_ns in times(before).items():
        if path.rsplit(".", 1)[-1] in spans or at_ns == 0:
            assert moved[path] == at_ns, path
        else:
            # Before the host's last boot: CLOCK_MONOTONIC is negative.
            assert moved[path] == at_ns - boot_ns, path


def test_a_client_of_before_the_last_boot_behaves() -> None:
    after = load(dump(client(*leased()), OFFSET), OFFSET + 1000 * SECOND)
    assert after is not None
    assert after.lease is not None
    assert after.lease.acked_ns < 0
    assert not after.has_asked(after.lease)
    assert after.is_overdue(0)
    infinite = load(dump(client(*leased(lease_s=INFINITE_NS / SECOND)), OFFSET), OFFSET)
    assert infinite is not None
    assert infinite.lease is not None
    assert infinite.lease.is_infinite


def worst(family: int, note: str) -> Client:
    """As much as a hostile guest and server can put into one client."""
    duid = "f" * 260
    address = "fdff:ffff:ffff:ffff:ffff:ffff:ffff:{:x}/128"
    more: dict[str, Any] = {
        "family": family,
        "client": duid if family == 6 else MAC,
        "client_id": "f" * 510,
        "server": duid,
        "server_address": "fe80:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        "host_name": note * 100,
        "addresses": tuple(address.format(0xF000 + number) for number in range(32)),
        "ifindex": 2**31 - 1,
        "name": "DHCPLEASEUNASSIGNED",
        "relay": "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        "note": note * 100,
    }
    found = Client(2**31 - 1, family, more["client"], MAC)
    big = 2**63 // SECOND
    for one in [*leased(**more), *renewed(30, **more)]:
        found.take(one)
    for number in range(200):
        xid = 2**32 - 1 - number
        found.take(step(Act.RENEW, 40 + number, xid=xid, **more))
        found.take(step(Act.OFFER, 40.5 + number, xid=xid, lease_s=big, **more))
        found.take(step(Act.NAK, 40.6 + number, xid=xid, role="uplink", **more))
    lost = copy.deepcopy(found)
    lost.lease = found.lease or lost.before
    lost.lose(10**18)
    found.loss = lost.loss
    found.granted = found.before = found.lease
    found.naks = [2**62] * 16
    return found


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("note", ["n", "é", "😀", '"', "\x1b", "\u2028"])
def test_the_worst_that_a_guest_can_do_fits_into_the_journal(family: int, note: str) -> None:
    found = worst(family, note)
    assert found.exchange is not None
    assert len(found.exchange.sights.kept) == 32
    state = dump(found, OFFSET)
    key = key_of("t" * abi.TAP_NAME_BYTES, found)
    assert len(key) < LONGEST_KEY_CHARS
    assert len(orjson.dumps(state)) <= LARGEST_LEASE_BYTES
    assert lease_row(key, "tap7", OFFSET, state) is not None
    after = load(through_the_journal(state), OFFSET)
    assert after is not None
    assert after.lease == found.lease
    # What was left out is said; what is in memory is as it was.
    assert after.exchange is not None
    kept, left_out = after.exchange.sights.kept, after.exchange.sights.left_out
    before = found.exchange.sights
    assert len(kept) + left_out == len(before.kept) + before.left_out
    assert len(before.kept) == 32


@pytest.mark.parametrize(
    "state",
    [None, [], "x", 7, {}, {"version": 1}, {"version": 2, "client": {}}, {"client": None}],
)
def test_what_is_no_client(state: object) -> None:
    assert load(state, 0) is None


def change(state: Any, path: str, value: object) -> Any:
    changed = copy.deepcopy(state)
    place = changed
    *way, last = [int(name) if name.isdigit() else name for name in path.split(".")]
    for name in way:
        place = place[name]
    place[last] = value
    return changed


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("version", 2),
        ("client.family", 5),
        ("client.mac", None),
        ("client.lease.addresses", []),
        ("client.lease.lease_ns", 0),
        ("client.lease.t1_ns", -1),
        ("client.lease.acked_ns", "now"),
        ("client.loss.lease.addresses", []),
        ("client.naks", [None]),
        ("client.exchange.sights.kept.0", []),
        ("client.exchange.sights.kept.0", None),
        ("client.exchange.sights.kept.0.8", "dance"),
        ("client.exchange.asked", [{}]),
        ("client.exchange.finding", None),
    ],
)
def test_a_damaged_state_is_none(path: str, value: object) -> None:
    state = dump(rich(), OFFSET)
    assert load(through_the_journal(state), OFFSET) is not None
    assert load(change(through_the_journal(state), path, value), OFFSET) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=20,
)


@settings(max_examples=200, deadline=None)
@given(JSON, st.data())
def test_a_damaged_state_never_raises(value: object, data: st.DataObject) -> None:
    state: Any = through_the_journal(dump(rich(), OFFSET))
    place: Any = state
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        if not keys:
            break
        key = data.draw(st.sampled_from(keys))
        if not isinstance(place[key], dict | list) or data.draw(st.booleans()):
            place[key] = value
            break
        place = place[key]
    load(state, OFFSET)


@pytest.mark.parametrize(
    ("found", "worth"),
    [
        (client(), False),
        (client(step(Act.FIND)), False),
        (client(step(Act.INFORM)), False),
        (client(step(Act.FIND), step(Act.FIND, 4)), True),
        (client(*leased()), True),
        (client(*leased(), step(Act.RELEASE, 5)), True),
        (client(step(Act.TAKE), step(Act.NAK, 1)), True),
        (client(step(Act.DECLINE)), True),
        (client(*leased(), step(Act.TAKE, 5)), True),
    ],
)
def test_what_is_worth_keeping(found: Client, worth: bool) -> None:
    assert is_worth_keeping(found) is worth


def test_a_lease_that_nobody_watched_for_a_while_proves_nothing() -> None:
    found = client(*leased(), step(Act.RENEW, 30, xid=2), step(Act.RENEW, 34, xid=2))
    break_off(found)
    assert found.exchange is not None
    assert found.exchange.taking.sure == 0
    found.lose(100 * SECOND)
    assert (found.loss, found.state) == (None, "unknown")


def test_keys() -> None:
    assert key_of("tap7", client()) == f"tap7/4/{MAC}"
    assert key_of("tap7", Client(PORT, 6, "00aa", MAC)) == "tap7/6/00aa"
