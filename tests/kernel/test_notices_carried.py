# SPDX-License-Identifier: Apache-2.0
"""What one host learns of a guest: given notice of, signed; taken, and acted on, once proved."""

from __future__ import annotations

import contextlib
import json
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sentinel.event import rfc3339
from sentinel.signed import NOTICE_DOMAIN, opened
from tests.harness.carried import SECOND_NS, ask, carry_notice, notice_of, signed_notice
from tests.harness.daemon import Sentinel
from tests.harness.frames import Bpdu, bpdu
from tests.harness.guarded import OFFENDER, Scene, events, guarded, needs_daemon, state_of
from tests.harness.named_guest import NamedGuest
from tests.harness.signers import Signer
from tests.harness.waiting import patient_s, wait_until

pytestmark = needs_daemon

HOST = "hv-1"
OURS, THEIRS, OTHERS, EVE = Signer(HOST), Signer("hv-2"), Signer("hv-3"), Signer("eve")


def tables(key_file: Path, action: str = "quarantine", **more: Any) -> Any:
    return {
        "checks.bpdu": {"action": "quarantine"},
        "hold": {"initial": "1h"},
        "fuse": {"max_quarantined": "100%"},
        "events": {"host": HOST},
        "mqtt.fleet": {
            "publish": True,
            "follow": True,
            "action": action,
            "key_file": str(key_file),
            "hosts": [{"name": one.name, "key": one.public} for one in (OURS, THEIRS, OTHERS)],
        },
        **more,
    }


@pytest.fixture(scope="module", name="key_file")
def _key_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("key") / "fleet.key"
    path.write_bytes(OURS.private_pem)
    path.chmod(0o600)
    return path


@pytest.fixture(scope="module")
def shared(key_file: Path) -> Iterator[Scene]:
    with guarded(tables(key_file)) as scene:
        yield scene


@contextlib.contextmanager
def guest(scene: Scene, name: str, vm_uuid: str) -> Iterator[None]:
    """A port of that VM."""
    tap = scene.lab.hypervisor.add_tap(name)
    with NamedGuest(tap, vm_uuid):
        try:
            yield
        finally:
            scene.lab.hypervisor.remove(name)


def wait_for_vm(sentinel: Sentinel, name: str, vm_uuid: str) -> None:
    wait_until(
        lambda: state_of(sentinel, name) and sentinel.port(name)["vm"]["uuid"] == vm_uuid,
        20,
        "the VM to be known",
        0.05,
    )


def test_a_guest_that_appears_later_is_cut_and_why_is_said(shared: Scene) -> None:
    vm_uuid = str(uuid.uuid4())
    message = signed_notice(THEIRS, notice_of("hv-2", vm_uuid))
    assert carry_notice(shared.sentinel, message) == {"taken": True, "why": ""}
    assert "known already" in carry_notice(shared.sentinel, message)["why"]
    with guest(shared, "tapnew", vm_uuid):
        shared.wait_for_state("tapnew", "quarantined", 20)
        held = shared.sentinel.port("tapnew")["quarantine"]
        assert held["cause"] == "bpdu"
        assert held["reason"].startswith("known from hv-2: bpdu: the bpdu check")
        assert 0.85 * 3600 * SECOND_NS <= held["hold_ns"] <= 1.15 * 3600 * SECOND_NS
        (matched,) = events(shared.sentinel, "notice.matched", "tapnew")
        assert (matched["body"]["host"], matched["body"]["action"]) == ("hv-2", "quarantine")
        assert shared.sentinel.json("show", "tapnew")["fleet"]["host"] == "hv-2"
        assert "from hv-2: bpdu: the bpdu check" in shared.sentinel.cli("show", "tapnew").stdout
        echo = [one["id"] for one in ask(shared.sentinel, "notices")]
        assert echo == [], "what another host has told is not told again"

        # Neither a restart nor another delivery undoes what an operator has decided.
        assert shared.sentinel.cli("release", "tapnew").returncode == 0
        assert shared.sentinel.json("show", "tapnew")["fleet"] is None
        for restart in (None, shared.sentinel.stop, shared.sentinel.kill):
            if restart is not None:
                restart()
                shared.sentinel.start(["tapnew"])
                wait_for_vm(shared.sentinel, "tapnew", vm_uuid)
            assert carry_notice(shared.sentinel, message)["taken"] is False
            assert shared.sentinel.port("tapnew")["state"] == "watched"
    assert [one["body"]["host"] for one in events(shared.sentinel, "notice.forgotten")] == ["hv-2"]


def test_a_guest_that_is_there_already_is_cut_at_once(shared: Scene) -> None:
    vm_uuid = str(uuid.uuid4())
    with guest(shared, "taphere", vm_uuid):
        wait_for_vm(shared.sentinel, "taphere", vm_uuid)
        carry_notice(shared.sentinel, signed_notice(THEIRS, notice_of("hv-2", vm_uuid)))
        shared.wait_for_state("taphere", "quarantined", 5)


def test_a_notice_outlives_a_restart(shared: Scene) -> None:
    vm_uuid = str(uuid.uuid4())
    carry_notice(shared.sentinel, signed_notice(THEIRS, notice_of("hv-2", vm_uuid)))
    shared.sentinel.kill()
    shared.sentinel.start()
    with guest(shared, "taplater", vm_uuid):
        shared.wait_for_state("taplater", "quarantined", 20)


def ago(seconds: int) -> str:
    return rfc3339(time.time_ns() - seconds * SECOND_NS)


def test_what_is_no_notice_of_a_known_host_changes_nothing(shared: Scene) -> None:
    vm_uuid = str(uuid.uuid4())
    good = notice_of("hv-2", vm_uuid)
    altered = json.loads(signed_notice(THEIRS, notice_of("hv-2", str(uuid.uuid4()))))
    altered["payload"] = json.dumps(good)
    cases = [
        (signed_notice(EVE, good, by="hv-2"), "not that of 'hv-2'"),
        (signed_notice(EVE, {**good, "host": "eve"}), "nobody whose key"),
        (signed_notice(OTHERS, good), "in the name of"),
        (json.dumps(altered), "not that of 'hv-2'"),
        (signed_notice(OURS, {**good, "host": HOST}), "this host's own"),
        (signed_notice(THEIRS, {**good, "issued": ago(90), "expires": ago(30)}), "expired"),
        (signed_notice(THEIRS, {**good, "expires": ago(-90_000)}), "mqtt.fleet.longest"),
        (signed_notice(THEIRS, {**good, "vm": {"uuid": None, "macs": []}}), "neither a UUID"),
        (
            signed_notice(THEIRS, {**good, "vm": {"uuid": None, "macs": ["ff:ff:ff:ff:ff:ff"]}}),
            "no guest can have",
        ),
        (signed_notice(THEIRS, {**good, "cause": "order"}), "no notice"),
        ("{}", "no signed message"),
    ]
    with guest(shared, "tapgood", vm_uuid):
        wait_for_vm(shared.sentinel, "tapgood", vm_uuid)
        for message, why in cases:
            answer = carry_notice(shared.sentinel, message)
            assert answer["taken"] is False
            assert why in answer["why"]
        assert shared.sentinel.port("tapgood")["state"] == "watched"
        assert shared.sentinel.json("show", "tapgood")["fleet"] is None
    assert shared.sentinel.json("status")["orders"]["refused"] >= len(cases) - 1
    told = [one["body"] for one in events(shared.sentinel, "notice.refused")]
    assert 1 <= len(told) <= 4, "one for each signer and minute"


def test_what_is_over_or_withdrawn_is_not_looked_for(shared: Scene) -> None:
    brief, withdrawn = str(uuid.uuid4()), str(uuid.uuid4())
    carry_notice(shared.sentinel, signed_notice(THEIRS, notice_of("hv-2", brief, expires=ago(-2))))
    notice = notice_of("hv-2", withdrawn)
    known = shared.sentinel.json("status")["fleet"]["known"]
    carry_notice(shared.sentinel, signed_notice(THEIRS, notice))
    later = {**notice, "issued": ago(0), "withdrawn": True}
    assert carry_notice(shared.sentinel, signed_notice(THEIRS, later))["taken"]
    assert carry_notice(shared.sentinel, signed_notice(THEIRS, notice))["taken"] is False
    wait_until(
        lambda: shared.sentinel.json("status")["fleet"]["known"] <= known - 1, 10, "the expiry"
    )
    with guest(shared, "tapa", brief), guest(shared, "tapb", withdrawn):
        wait_for_vm(shared.sentinel, "tapa", brief)
        wait_for_vm(shared.sentinel, "tapb", withdrawn)
        assert shared.sentinel.port("tapa")["state"] == "watched"
        assert shared.sentinel.port("tapb")["state"] == "watched"


def test_a_guest_that_is_cut_for_cause_is_given_notice_of_and_withdrawn(shared: Scene) -> None:
    vm_uuid = str(uuid.uuid4())
    keys = {HOST: OURS.public}

    def ours() -> list[Any]:
        found = []
        for one in ask(shared.sentinel, "notices"):
            by, payload = opened(one["message"].encode(), keys, NOTICE_DOMAIN)
            said = json.loads(payload)
            assert (by, said["host"], said["id"]) == (HOST, HOST, one["id"])
            assert said["withdrawn"] == one["withdrawn"]
            if said["vm"]["uuid"] == vm_uuid:
                found.append(said)
        return found

    with guest(shared, "tapsick", vm_uuid):
        wait_for_vm(shared.sentinel, "tapsick", vm_uuid)
        shared.sentinel.cli("quarantine", "tapsick")
        shared.sentinel.cli("release", "tapsick")
        assert ours() == [], "an order is this host's own affair"
        shared.tap("tapsick").write(bpdu(Bpdu.STP))
        shared.wait_for_state("tapsick", "quarantined")
        (said,) = wait_until(ours, 10, "the notice", 0.05)
        assert (said["cause"], said["withdrawn"]) == ("bpdu", False)
        shared.sentinel.kill()
        shared.sentinel.start(["tapsick"])
        wait_for_vm(shared.sentinel, "tapsick", vm_uuid)
        assert ours() == [said], "a restart changes nothing of it"
        shared.sentinel.cli("release", "tapsick")
        (again,) = ours()
        assert again["withdrawn"]
        assert again["id"] == said["id"]
        assert again["issued"] > said["issued"]


def test_it_only_counts_unless_it_is_to_cut(key_file: Path) -> None:
    vm_uuid = str(uuid.uuid4())
    with guarded(tables(key_file, "count"), taps=[OFFENDER]) as scene:
        carry_notice(scene.sentinel, signed_notice(THEIRS, notice_of("hv-2", vm_uuid)))
        with guest(scene, "tapnew", vm_uuid):
            wait_until(lambda: events(scene.sentinel, "notice.matched"), 20, "the event", 0.05)
            (matched,) = events(scene.sentinel, "notice.matched")
            assert (matched["port"], matched["body"]["action"]) == ("tapnew", "count")
            assert scene.sentinel.port("tapnew")["state"] == "watched"
            assert scene.sentinel.json("status")["fleet"]["matched"] == 1


def test_a_notice_cuts_once_also_through_a_restart(key_file: Path) -> None:
    vm_uuid = str(uuid.uuid4())
    with guarded(tables(key_file, hold={"initial": patient_s(3)}), taps=[OFFENDER]) as scene:
        carry_notice(scene.sentinel, signed_notice(THEIRS, notice_of("hv-2", vm_uuid)))
        with guest(scene, "tapnew", vm_uuid):
            scene.wait_for_state("tapnew", "quarantined", 20)
            for state, restart in (("quarantined", None), ("watched", scene.sentinel.kill)):
                scene.wait_for_state("tapnew", state, 20)
                if restart is not None:
                    restart()
                    scene.sentinel.start(["tapnew"])
            wait_for_vm(scene.sentinel, "tapnew", vm_uuid)
            assert scene.sentinel.json("show", "tapnew")["fleet"]["host"] == "hv-2"
            wait_until(lambda: not scene.sentinel.json("status")["fleet"]["waiting"], 10, "it")
            assert scene.sentinel.port("tapnew")["state"] == "watched"
            assert len(events(scene.sentinel, "notice.matched")) == 1


def test_the_fuse_bounds_what_other_hosts_can_cut(key_file: Path) -> None:
    first, second = str(uuid.uuid4()), str(uuid.uuid4())
    with guarded(tables(key_file, fuse={"max_quarantined": 1}), taps=[OFFENDER]) as scene:
        for one in (first, second):
            carry_notice(scene.sentinel, signed_notice(THEIRS, notice_of("hv-2", one)))
        with guest(scene, "tapa", first):
            scene.wait_for_state("tapa", "quarantined", 20)
            with guest(scene, "tapb", second):
                wait_until(
                    lambda: events(scene.sentinel, "quarantine.refused"), 20, "refusal", 0.05
                )
                assert scene.sentinel.port("tapb")["state"] == "watched"
                assert scene.sentinel.cli("release", "tapa").returncode == 0
                scene.wait_for_state("tapb", "quarantined", 10)
                assert scene.sentinel.port("tapa")["state"] == "watched"


def test_a_key_that_others_may_read_is_refused_at_the_start(key_file: Path, tmp_path: Path) -> None:
    loose = tmp_path / "loose.key"
    loose.write_bytes(OURS.private_pem)
    loose.chmod(0o640)
    refusal = pytest.raises(RuntimeError, match=r"mqtt\.fleet\.key_file: .*may be read by others")
    with guarded(tables(loose), taps=[OFFENDER], start=False) as scene, refusal:
        scene.sentinel.start()
