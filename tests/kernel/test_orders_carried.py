# SPDX-License-Identifier: Apache-2.0
"""Orders that came over MQTT: a real daemon carries out what is proved, once, and no other."""

from __future__ import annotations

import contextlib
import json
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sentinel.event import rfc3339
from sentinel.refusals import WINDOW_NS
from tests.harness.carried import (
    SECOND_NS,
    carry_notice,
    carry_order,
    notice_of,
    order_of,
    signed_notice,
    signed_order,
)
from tests.harness.frames import GUEST_MAC
from tests.harness.guarded import (
    OFFENDER,
    Scene,
    events,
    guarded,
    needs_daemon,
    ordinary_frames,
)
from tests.harness.journals import small_disk
from tests.harness.signers import Signer
from tests.harness.waiting import wait_until

pytestmark = needs_daemon

HOST = "hv-1"
ALICE, BOB, EVE = Signer("alice"), Signer("bob"), Signer("eve")
TABLES: Any = {
    "checks.bpdu": {"action": "count"},
    "events": {"host": HOST},
    "mqtt.orders": {
        "enabled": True,
        "principals": [
            {"name": "alice", "key": ALICE.public, "may": ["status", "quarantine", "release"]},
            {"name": "bob", "key": BOB.public, "may": ["status", "release"], "ports": ["tapo*"]},
        ],
    },
}


@pytest.fixture(scope="module")
def shared() -> Iterator[Scene]:
    with guarded(TABLES) as scene:
        yield scene


@pytest.fixture
def scene(shared: Scene) -> Iterator[Scene]:
    yield shared
    shared.sentinel.cli("release", OFFENDER)


def order(op: str, port: str = OFFENDER, **members: Any) -> dict[str, Any]:
    return order_of(op, port, **{"host": HOST, **members})


def state(scene: Scene) -> str:
    return str(scene.sentinel.port(OFFENDER)["state"])


def orders(scene: Scene) -> dict[str, Any]:
    found: dict[str, Any] = scene.sentinel.json("status")["orders"]
    return found


def test_orders_are_carried_out_answered_and_journaled(scene: Scene) -> None:
    cut = order("quarantine", for_ns=3600 * SECOND_NS)
    answer = carry_order(scene.sentinel, signed_order(ALICE, cut))
    assert (answer["id"], answer["host"], answer["repeated"]) == (cut["id"], HOST, False)
    assert answer["result"]["changed"]
    assert answer["result"]["journaled"]
    before = scene.wire.frames_from(GUEST_MAC)
    scene.tap(OFFENDER).write(ordinary_frames()["ipv4"])
    held = scene.sentinel.port(OFFENDER)["quarantine"]
    assert (held["cause"], held["reason"], held["uid"]) == ("order", "alice: it floods", None)
    assert held["hold_ns"] == 3600 * SECOND_NS
    assert scene.wire.frames_from(GUEST_MAC) == before

    freed = carry_order(scene.sentinel, signed_order(ALICE, order("release")))
    assert freed["result"]["changed"]
    assert state(scene) == "watched"
    idle = carry_order(scene.sentinel, signed_order(ALICE, order("release")))
    assert idle["result"]["changed"] is False

    whole = carry_order(scene.sentinel, signed_order(BOB, order("status", "")))
    assert whole["result"]["guard"]["watched"] == 3
    one = carry_order(scene.sentinel, signed_order(BOB, order("status", "tapone")))
    assert one["result"]["name"] == "tapone"

    told = [one["body"] for one in events(scene.sentinel, "order.done")]
    assert [(one["order"], one["by"]) for one in told[:3]] == [
        ("quarantine", "alice"), ("release", "alice"), ("release", "alice"),
    ]  # fmt: skip
    assert told[0]["id"] == cut["id"]
    assert (told[0]["sender"], told[0]["via"]) == ("alice@desk", "broker:8883")
    (set_,) = [one["body"] for one in events(scene.sentinel, "quarantine.set")][-1:]
    assert set_["message"] == "cut by an order for 1h: alice: it floods"


def test_the_command_line_releases_what_was_ordered_over_mqtt(scene: Scene) -> None:
    carry_order(scene.sentinel, signed_order(ALICE, order("quarantine")))
    assert state(scene) == "quarantined"
    assert "by an order, since" in scene.sentinel.cli("show", OFFENDER).stdout
    assert scene.sentinel.cli("release", OFFENDER).returncode == 0
    assert state(scene) == "watched"


def ago(seconds: int) -> str:
    return rfc3339(time.time_ns() - seconds * SECOND_NS)


def other_order() -> str:
    good = json.loads(signed_order(ALICE, order("status")))
    good["payload"] = json.dumps(order("quarantine"))
    return json.dumps(good)


REFUSED: dict[str, tuple[Callable[[], str], str]] = {
    "forged": (lambda: signed_order(EVE, order("quarantine"), by="alice"), "not that of 'alice'"),
    "unknown": (lambda: signed_order(EVE, order("quarantine")), "nobody whose key"),
    "another's name": (
        lambda: signed_order(BOB, order("quarantine"), by="alice"), "not that of 'alice'",
    ),
    "payload changed": (other_order, "not that of 'alice'"),
    "a notice": (lambda: signed_notice(ALICE, order("quarantine")), "not that of 'alice'"),
    "not allowed": (lambda: signed_order(BOB, order("quarantine", "tapone")), "may not order"),
    "not allowed port": (lambda: signed_order(BOB, order("release")), "may not order release of"),
    "another host": (lambda: signed_order(ALICE, order("quarantine", host="hv-2")), "'hv-2'"),
    "expired": (
        lambda: signed_order(ALICE, order("quarantine", issued=ago(90), expires=ago(30))),
        "it expired at",
    ),
    "valid for too long": (
        lambda: signed_order(ALICE, order("quarantine", expires=ago(-301))),
        "longer than mqtt.orders.longest (5m)",
    ),
    "of the future": (
        lambda: signed_order(ALICE, order("quarantine", issued=ago(-90), expires=ago(-100))),
        "are the clocks right",
    ),
    "no port": (lambda: signed_order(ALICE, order("quarantine", "")), "names no port"),
    "unknown member": (lambda: signed_order(ALICE, order("quarantine", uid=0)), "no order"),
    "no message": (lambda: "{}", "no signed message"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused_does_nothing(scene: Scene, case: str) -> None:
    make, why = REFUSED[case]
    refused = orders(scene)["refused"]
    answer = carry_order(scene.sentinel, make())
    assert answer["error"]["code"] == "refused"
    assert why in answer["error"]["message"]
    assert state(scene) == "watched"
    assert orders(scene)["refused"] == refused + 1


def test_refusals_are_journaled_and_do_not_fill_the_journal(scene: Scene) -> None:
    began_ns = time.monotonic_ns()
    for _ in range(50):
        carry_order(scene.sentinel, signed_order(EVE, order("quarantine")))
    told = wait_until(
        lambda: [one for one in events(scene.sentinel, "order.refused") if "via" in one["body"]],
        10,
        "the refusal",
    )
    by_name = [one["body"]["by"] for one in told]
    windows = 1 + (time.monotonic_ns() - began_ns) // WINDOW_NS
    # One as each begins, one that sums it up.
    assert 1 <= by_name.count("") <= 2 * windows
    assert all(one["body"]["via"] == "broker:8883" for one in told)


def test_a_repeated_order_is_answered_as_before_and_not_done_again(scene: Scene) -> None:
    message = signed_order(ALICE, order("quarantine"))
    first = carry_order(scene.sentinel, message)
    scene.sentinel.cli("release", OFFENDER)
    for restart in (None, scene.sentinel.stop, scene.sentinel.kill):
        if restart is not None:
            restart()
            scene.sentinel.start([OFFENDER])
        again = carry_order(scene.sentinel, message)
        assert again == {**first, "repeated": True}
        assert state(scene) == "watched"
    assert orders(scene)["repeated"] == 1


def test_a_refused_port_stays_refused_when_the_order_comes_again(scene: Scene) -> None:
    message = signed_order(ALICE, order("quarantine", "taplate"))
    first = carry_order(scene.sentinel, message)
    assert first["error"]["code"] == "not_found"
    with scene.lab.hypervisor.add_tap("taplate"):
        scene.wait_for_state("taplate", "watched")
        again = carry_order(scene.sentinel, message)
        assert (again["error"], again["repeated"]) == (first["error"], True)
        assert scene.sentinel.port("taplate")["state"] == "watched"
    scene.lab.hypervisor.taps.pop("taplate")


def test_a_lost_journal_does_not_make_old_orders_new(scene: Scene) -> None:
    message = signed_order(ALICE, order("quarantine"))
    carry_order(scene.sentinel, message)
    scene.sentinel.cli("release", OFFENDER)
    scene.sentinel.stop()
    for file in (scene.sentinel.directory / "state").glob("journal.db*"):
        file.unlink()
    scene.sentinel.start([OFFENDER])
    answer = carry_order(scene.sentinel, message)
    assert "before this host began to remember" in answer["error"]["message"]
    assert state(scene) == "watched"
    assert "result" in carry_order(scene.sentinel, signed_order(ALICE, order("quarantine")))


def test_while_nothing_can_be_remembered_nothing_is_ordered(tmp_path: Path) -> None:
    with (
        small_disk(tmp_path / "disk") as disk,
        guarded(TABLES, taps=[OFFENDER], start=False) as scene,
        contextlib.ExitStack() as stopped,
    ):
        text = scene.sentinel.config.read_text()
        state_dir = scene.sentinel.directory / "state"
        state_dir.symlink_to(disk.path)
        scene.sentinel.config.write_text(text.replace(str(state_dir), str(disk.path)))
        scene.sentinel.start([OFFENDER])
        stopped.callback(scene.sentinel.close)
        disk.fill()

        def is_refused() -> bool:
            # What is written in the place of what was, a full disk takes.
            answer = carry_order(scene.sentinel, signed_order(ALICE, order("release")))
            return "journal cannot be written" in str(answer.get("error"))

        wait_until(is_refused, 60, "the disk to take no more")
        message = signed_order(ALICE, order("quarantine"))
        assert (
            "journal cannot be written" in carry_order(scene.sentinel, message)["error"]["message"]
        )
        assert state(scene) == "watched"
        disk.empty()
        wait_until(lambda: scene.sentinel.json("status")["journal"]["ok"], 20, "the journal")
        answer = carry_order(scene.sentinel, message)
        assert answer["result"]["changed"], "it was not begun, so it may be given again"


def test_orders_are_off_unless_the_configuration_says_otherwise() -> None:
    with guarded({"events": {"host": HOST}}, taps=[OFFENDER]) as scene:
        answer = carry_order(scene.sentinel, signed_order(ALICE, order("quarantine")))
        assert "mqtt.orders.enabled" in answer["error"]["message"]
        assert state(scene) == "watched"
        notice = carry_notice_of(scene)
        assert notice == {
            "taken": False,
            "why": "notices of other hosts are not followed (mqtt.fleet.follow)",
        }
        assert scene.sentinel.process is not None
        maps = Path(f"/proc/{scene.sentinel.process.pid}/maps").read_text()
        assert "cryptography" not in maps, "who has nobody's key pays nothing"


def carry_notice_of(scene: Scene) -> dict[str, Any]:
    return carry_notice(scene.sentinel, signed_notice(ALICE, notice_of("alice", str(uuid.uuid4()))))
