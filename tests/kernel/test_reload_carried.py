# SPDX-License-Identifier: Apache-2.0
"""A changed configuration in a running daemon: who may order over MQTT, whose notices count."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

from tests.harness.carried import carry_notice, carry_order, notice_of, signed_notice, signed_order
from tests.harness.carried import order_of as order_of_any
from tests.harness.daemon import Tables
from tests.harness.guarded import OFFENDER, events, guarded, needs_daemon
from tests.harness.named_guest import NamedGuest
from tests.harness.reloading import put, refusal, reload
from tests.harness.signers import Signer
from tests.harness.waiting import wait_until

pytestmark = needs_daemon

HOST = "hv-1"
OURS, THEIRS, ALICE, EVE = Signer(HOST), Signer("hv-2"), Signer("alice"), Signer("alice")
NAMED: Tables = {"events": {"host": HOST}, "fuse": {"max_quarantined": "100%"}}


def order_of(op: str) -> dict[str, Any]:
    return order_of_any(op, OFFENDER, host=HOST)


def orders(key: str, enabled: bool = True) -> Any:
    who = {"name": "alice", "key": key, "may": ["quarantine", "release"]}
    return {**NAMED, "mqtt.orders": {"enabled": enabled, "principals": [who]}}


def fleet(action: str, **more: Any) -> Any:
    known = {"name": "hv-2", "key": THEIRS.public}
    return {**NAMED, "mqtt.fleet": {"follow": True, "action": action, "hosts": [known], **more}}


def test_principals_of_the_new_file_may_and_those_of_the_old_may_no_more() -> None:
    with guarded(NAMED) as scene:
        cut = signed_order(ALICE, order_of("quarantine"))
        assert "off on this host" in carry_order(scene.sentinel, cut)["error"]["message"]
        reload(scene, orders(ALICE.public))
        assert carry_order(scene.sentinel, cut)["result"]["changed"]
        assert scene.sentinel.port(OFFENDER)["state"] == "quarantined"

        # What was done once is remembered, whatever may be configured meanwhile.
        reload(scene, orders(ALICE.public, enabled=False))
        assert carry_order(scene.sentinel, cut)["error"]["code"] == "refused"
        assert scene.sentinel.cli("release", OFFENDER).returncode == 0
        reload(scene, orders(ALICE.public))
        assert carry_order(scene.sentinel, cut)["repeated"]
        assert scene.sentinel.port(OFFENDER)["state"] == "watched"

        reload(scene, orders(EVE.public))
        late = carry_order(scene.sentinel, signed_order(ALICE, order_of("quarantine")))
        assert late["error"]["code"] == "refused"
        assert scene.sentinel.port(OFFENDER)["state"] == "watched"


def test_a_notice_that_only_counted_cuts_once_it_is_asked_to() -> None:
    with guarded(NAMED) as scene:
        vm_uuid = str(uuid.uuid4())
        message = signed_notice(THEIRS, notice_of("hv-2", vm_uuid))
        assert not carry_notice(scene.sentinel, message)["taken"]
        reload(scene, fleet("count"))
        assert carry_notice(scene.sentinel, message)["taken"]
        tap = scene.lab.hypervisor.add_tap("tapnew")
        with NamedGuest(tap, vm_uuid):
            wait_until(
                lambda: events(scene.sentinel, "notice.matched", "tapnew"), 20, "the match", 0.1
            )
            assert scene.sentinel.port("tapnew")["state"] == "watched"
            reload(scene, fleet("quarantine"))
            scene.wait_for_state("tapnew", "quarantined", 20)
            reason = scene.sentinel.port("tapnew")["quarantine"]["reason"]
            assert reason.startswith("known from hv-2: ")


def test_a_key_that_others_may_read_is_refused_and_nothing_of_the_file_is_taken(
    tmp_path: Path,
) -> None:
    key = tmp_path / "fleet.key"
    key.write_bytes(OURS.private_pem)
    key.chmod(0o644)
    with guarded(NAMED) as scene:
        wrong = fleet("quarantine", publish=True, key_file=str(key))
        put(scene, {**wrong, "checks.bpdu": {"action": "drop"}})
        said = refusal(scene, scene.sentinel.config.read_bytes())
        assert "mqtt.fleet.key_file" in said
        assert "may be read by others" in said
        status = scene.sentinel.json("status")
        assert status["checks"]["bpdu"]["action"] == "count"
        assert not status["fleet"]["follow"]
        key.chmod(0o600)
        reload(scene, wrong)
        assert scene.sentinel.json("status")["fleet"]["publish"]
