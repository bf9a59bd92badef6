# SPDX-License-Identifier: Apache-2.0
"""Notices: what this host tells, what it takes, and which ports that is about."""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentinel.config import parse_config
from sentinel.durations import DAY_NS, HOUR_NS, MINUTE_NS
from sentinel.effect import Effect, ForgetMemo, KeepMemo, Log, Shut
from sentinel.engine import Engine
from sentinel.errors import RefusedError
from sentinel.event import Kind, rfc3339
from sentinel.fleet.issued import MOST_NOTICES, Issued
from sentinel.fleet.notice import NoticePayload, read_notice
from sentinel.fleet.watch_list import MOST_NOTICES as MOST_KNOWN
from sentinel.fleet.watch_list import MOST_OF_ONE, WatchList
from sentinel.inventory import Appeared, Changed, Device, Gone
from sentinel.validity import Validity
from sentinel.vm import VmIdentity
from tests.harness.carried_facts import NOON_NS, VM_UUID, notice
from tests.harness.cut_facts import device, latch_seen
from tests.harness.journals import quarantine

MAC = "fa:16:3e:00:00:01"
KEY = "MCowBQYDK2VwAyEA" + "A" * 43 + "="


def vm(vm_uuid: str | None = VM_UUID, mac: str | None = None) -> VmIdentity:
    return VmIdentity(uuid=vm_uuid, name="web", source="fdinfo", mac=mac)


def memos(effects: Iterable[Effect], kept: dict[str, Any] | None = None) -> dict[str, Any]:
    """What the journal would hold after these."""
    rows = {} if kept is None else kept
    for one in effects:
        if isinstance(one, KeepMemo):
            rows[one.key] = (one.until_wall_ns, msgspec.json.decode(msgspec.json.encode(one.state)))
        elif isinstance(one, ForgetMemo):
            del rows[one.key]
    return rows


class TestNotice:
    def test_it_is_what_was_written(self) -> None:
        one = notice(valid=Validity(NOON_NS + 1_000, NOON_NS + HOUR_NS))
        assert read_notice("hv-2", one.to_payload(), NOON_NS, HOUR_NS) == one
        names = [field.encode_name for field in msgspec.structs.fields(NoticePayload)]
        assert names == [
            "version", "id", "host", "vm", "cause", "reason", "issued", "expires", "withdrawn",
        ]  # fmt: skip

    @pytest.mark.parametrize(
        ("members", "why"),
        [
            ({"host": "hv-3"}, "in the name of 'hv-3'"),
            ({"cause": "order"}, "no notice"),
            ({"vm": {"uuid": "x", "macs": []}}, "no UUID"),
            ({"vm": {"uuid": "0" * 8 + "-0000-0000-0000-" + "0" * 12, "macs": []}}, "no UUID"),
            ({"vm": {"uuid": None, "macs": []}}, "neither"),
            ({"vm": {"uuid": None, "macs": ["01:80:c2:00:00:00"]}}, "no guest can have"),
            ({"vm": {"uuid": None, "macs": ["00:00:00:00:00:00"]}}, "no guest can have"),
            ({"vm": {"uuid": None, "macs": [MAC] * 17}}, "no notice"),
            ({"reason": "x" * 201}, "no notice"),
            ({"more": 1}, "no notice"),
            ({"expires": rfc3339(NOON_NS)}, "expired"),
            ({"expires": rfc3339(NOON_NS + HOUR_NS + 2 * MINUTE_NS)}, "mqtt.fleet.longest"),
            ({"issued": rfc3339(NOON_NS + 2 * MINUTE_NS)}, "clocks"),
        ],
    )
    def test_what_is_refused(self, members: dict[str, object], why: str) -> None:
        said = {**json.loads(notice().to_payload()), **members}
        with pytest.raises(RefusedError) as refusal:
            read_notice("hv-2", json.dumps(said).encode(), NOON_NS, HOUR_NS)
        assert why in str(refusal.value)

    @given(st.binary(max_size=200))
    def test_no_bytes_do_anything_else(self, raw: bytes) -> None:
        with contextlib.suppress(RefusedError):
            read_notice("hv-2", raw, NOON_NS, HOUR_NS)

    @pytest.mark.parametrize(
        ("told", "here", "is_it"),
        [
            ((VM_UUID, ()), vm(), True),
            ((VM_UUID, (MAC,)), vm(str(uuid.uuid4()), MAC), False),
            ((VM_UUID, (MAC,)), vm(None, MAC), True),
            ((None, (MAC,)), vm(VM_UUID, MAC), True),
            ((None, (MAC,)), vm(None, "fa:16:3e:00:00:02"), False),
            ((VM_UUID, ()), vm(None, None), False),
            ((None, (MAC,)), vm(VM_UUID, None), False),
        ],
    )
    def test_whom_it_is_about(
        self, told: tuple[str | None, tuple[str, ...]], here: VmIdentity, is_it: bool
    ) -> None:
        one = notice(uuid=told[0], macs=told[1])
        assert one.matches(here) is is_it
        book = WatchList()
        list(book.take(one))
        assert (book.match(here) == one) is is_it


class TestWatchList:
    def test_the_latest_state_counts_in_whatever_order_they_come(self) -> None:
        book = WatchList()
        first = notice()
        later = replace(first, valid=Validity(NOON_NS + 5, NOON_NS + 2 * HOUR_NS))
        withdrawn = replace(first, valid=Validity(NOON_NS + 9, NOON_NS + HOUR_NS), withdrawn=True)
        list(book.take(later))
        for old in (first, later):
            assert book.is_old(old)
            assert list(book.take(old)) == []
        assert book.match(vm()) == later
        list(book.take(withdrawn))
        assert book.match(vm()) is None
        assert list(book.take(later)) == [], "what was withdrawn does not come again"
        assert list(book.expire(NOON_NS + HOUR_NS)) == [], "nor once the withdrawal would be over"
        assert len(list(book.expire(NOON_NS + 2 * HOUR_NS))) == 1
        assert len(book) == 0

    def test_what_is_forgotten_here_stays_so_through_a_restart(self) -> None:
        book, one = WatchList(), notice()
        rows = memos(book.take(one))
        memos([book.forget(one)], rows)
        again = WatchList()
        again.load([(key, *row) for key, row in rows.items()], NOON_NS)
        for known in (book, again):
            assert known.match(vm()) is None
            assert known.is_old(one)
            assert (len(known), known.current()) == (1, 0)
        anew = replace(one, valid=Validity(NOON_NS + MINUTE_NS, NOON_NS + HOUR_NS))
        list(again.take(anew))
        assert again.match(vm()) == anew, "it offended again"

    def test_it_comes_back_after_a_restart_and_damage_is_left_out(self) -> None:
        book, one = WatchList(), notice()
        rows = [(key, *row) for key, row in memos(book.take(one)).items()]
        again = WatchList()
        damaged: list[Any] = [
            ("hv-2 x", NOON_NS * 2, {}),
            ("hv-2", NOON_NS * 2, {"uuid": 7}),
            ("", NOON_NS * 2, one.to_state()),
        ]
        again.load([*damaged, *rows], NOON_NS)
        assert (len(again), again.match(vm())) == (1, one)
        late = WatchList()
        late.load(rows, NOON_NS + HOUR_NS)
        assert len(late) == 0

    def test_it_is_bounded_by_host_and_in_all(self) -> None:
        book = WatchList()
        for number in range(MOST_KNOWN):
            list(book.take(notice(f"h{number // MOST_OF_ONE}")))
            if number == MOST_OF_ONE - 1:
                with pytest.raises(RefusedError, match="as many as there may be"):
                    list(book.take(notice("h0")))
        with pytest.raises(RefusedError, match="as many as there may be"):
            list(book.take(notice("late")))
        assert len(book) == MOST_KNOWN

    def test_another_host_s_notice_of_the_same_id_is_another(self) -> None:
        book, one = WatchList(), notice()
        list(book.take(one))
        theirs = replace(
            one, host="hv-3", withdrawn=True, valid=Validity(NOON_NS + 9, NOON_NS + HOUR_NS)
        )
        list(book.take(theirs))
        assert book.match(vm()) == one


class TestIssued:
    def test_a_cut_for_cause_is_told_once_and_withdrawn_by_an_order(self) -> None:
        book = Issued("hv-1", DAY_NS)
        cut = quarantine(vm=vm(mac=MAC), since_wall_ns=NOON_NS)
        rows = memos(book.cut(cut, NOON_NS))
        (told,) = book.current()
        assert (told.uuid, told.macs, told.cause, told.host) == (VM_UUID, (MAC,), "bpdu", "hv-1")
        assert told.valid == Validity(NOON_NS, NOON_NS + DAY_NS)
        assert list(book.cut(cut, NOON_NS + 5)) == []
        again = Issued("hv-1", DAY_NS)
        again.load([(key, *row) for key, row in rows.items()], NOON_NS)
        assert again.current() == [told]
        assert list(again.cut(cut, NOON_NS + 5)) == []
        list(book.released(cut.vm, "tap0", NOON_NS))
        (withdrawn,) = book.current()
        assert withdrawn.withdrawn
        assert withdrawn.id == told.id
        assert withdrawn.valid.issued_ns > told.valid.issued_ns
        assert withdrawn.valid.expires_ns >= told.valid.expires_ns
        assert list(book.released(cut.vm, "tap0", NOON_NS)) == []
        relapse = replace(cut, since_wall_ns=NOON_NS + HOUR_NS)
        list(book.cut(relapse, NOON_NS + HOUR_NS))
        (anew,) = book.current()
        assert (anew.id, anew.withdrawn) == (told.id, False)
        assert len(list(book.expire(anew.valid.expires_ns))) == 1

    @pytest.mark.parametrize(
        "changes",
        [
            {"cause": "order"},
            {"reason": "known from hv-2: bpdu: x"},
            {"vm": vm(None, None)},
            {"vm": vm(None, "ff:ff:ff:ff:ff:ff")},
        ],
    )
    def test_what_nobody_is_told_of(self, changes: dict[str, Any]) -> None:
        book = Issued("hv-1", DAY_NS)
        assert list(book.cut(quarantine(**{"vm": vm(), **changes}), NOON_NS)) == []

    def test_there_are_never_more_than_the_bound(self) -> None:
        book = Issued("hv-1", DAY_NS)
        rows: dict[str, Any] = {}
        first = vm(str(uuid.uuid4()))
        for number in range(MOST_NOTICES + 3):
            who = first if number == 0 else vm(str(uuid.uuid4()))
            cut = quarantine(vm=who, since_wall_ns=NOON_NS + number * 1000)
            memos(book.cut(cut, NOON_NS + number * 1000), rows)
            if number == 1:
                memos(book.released(who, "tap0", NOON_NS + 5000), rows)
        assert len(book) == len(rows) == MOST_NOTICES
        assert not any(one.withdrawn for one in book.current()), "the withdrawn one goes first"


FLEET = f"""
[fuse]
max_quarantined = 1
[mqtt.fleet]
publish = true
key_file = "/k"
follow = true
action = "quarantine"
hosts = [{{name = "hv-2", key = "{KEY}"}}]
"""


def engine(text: str, *devices: Device) -> Engine:
    known = {one.ifindex: one for one in devices}
    return Engine(parse_config(text, "c.toml"), known, "hv-1")


def kinds(effects: Iterable[Effect]) -> list[str]:
    return [one.event.kind for one in effects if isinstance(one, Log)]


class TestEngine:
    def test_a_port_that_is_there_or_becomes_known_is_wanted_once(self) -> None:
        here, unknown = device(7, "tap7", vm=vm()), device(8, "tap8")
        core = engine(FLEET, here, unknown)
        one = notice()
        assert kinds(core.fleet.take(one, NOON_NS)) == [Kind.NOTICE_TAKEN]
        assert core.fleet.wanted == {7: one}
        list(core.change(Changed(replace(unknown, vm=vm()), unknown), NOON_NS))
        assert set(core.fleet.wanted) == {7, 8}
        effects = list(core.known_elsewhere(here, one, 0, 0.0, 0, NOON_NS))
        assert isinstance(effects[0], Shut)
        assert kinds(effects) == [Kind.QUARANTINE_SET, Kind.NOTICE_MATCHED]
        assert effects[0].quarantine.reason.startswith("known from hv-2: bpdu: ")
        assert core.fleet.issued.current() == []
        list(core.change(Changed(here, here), NOON_NS))
        assert set(core.fleet.wanted) == {8}
        list(core.change(Gone(unknown), NOON_NS))
        assert core.fleet.wanted == {}

    def test_the_fuse_is_told_once_and_asked_again(self) -> None:
        here = device(7, "tap7", vm=vm())
        core = engine(FLEET, here)
        one = notice()
        list(core.fleet.take(one, NOON_NS))
        effects = list(core.known_elsewhere(here, one, 0, 0.0, 1, NOON_NS))
        assert kinds(effects) == [Kind.QUARANTINE_REFUSED]
        assert core.fleet.wanted == {}
        list(core.tick(NOON_NS + 1))
        assert core.fleet.wanted == {7: one}
        assert kinds(core.known_elsewhere(here, one, 0, 0.0, 1, NOON_NS)) == []
        list(core.tick(NOON_NS + 2))
        assert kinds(core.known_elsewhere(here, one, 0, 0.0, 0, NOON_NS))[0] == Kind.QUARANTINE_SET

    def test_where_it_is_not_to_cut_it_tells(self) -> None:
        counting = FLEET.replace('action = "quarantine"', 'action = "count"')
        trusted = device(7, vm=vm(), trusted_checks=frozenset({"bpdu"}))
        for core, port in ((engine(counting, device(vm=vm())), device(vm=vm())),
                           (engine(FLEET, trusted), trusted)):  # fmt: skip
            one = notice()
            list(core.fleet.take(one, NOON_NS))
            effects = list(core.known_elsewhere(port, one, 0, 0.0, 0, NOON_NS))
            assert kinds(effects) == [Kind.NOTICE_MATCHED]
            assert core.cuts.active(port.ifindex) is None

    def test_an_order_to_release_forgets_and_withdraws(self) -> None:
        here = device(7, "tap7", vm=vm())
        core = engine(FLEET, here)
        list(core.fleet.take(notice(), NOON_NS))
        list(core.latch(latch_seen(7, at=NOON_NS)))
        (told,) = core.fleet.issued.current()
        effects = list(core.release(here, "mended", 0, NOON_NS + 1))
        assert Kind.NOTICE_FORGOTTEN in kinds(effects)
        assert core.fleet.known.match(here.vm) is None
        assert core.fleet.wanted == {}
        (withdrawn,) = core.fleet.issued.current()
        assert (withdrawn.id, withdrawn.withdrawn) == (told.id, True)

    def test_a_cut_whose_vm_is_known_later_is_told_then(self) -> None:
        unknown = device(7, "tap7")
        core = engine(FLEET, unknown)
        list(core.latch(latch_seen(7, at=NOON_NS)))
        assert core.fleet.issued.current() == []
        list(core.change(Changed(replace(unknown, vm=vm()), unknown), NOON_NS + 1))
        assert [one.uuid for one in core.fleet.issued.current()] == [VM_UUID]

    def test_nothing_of_it_happens_unless_it_is_asked_for(self) -> None:
        here = device(7, "tap7", vm=vm())
        core = engine("", here)
        list(core.latch(latch_seen(7)))
        list(core.change(Appeared(here), NOON_NS))
        assert core.fleet.issued.current() == []
        assert core.fleet.wanted == {}
