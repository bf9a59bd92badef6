# SPDX-License-Identifier: Apache-2.0
"""Two hosts, two brokers bridged: what one learnt of a guest, the other knows before it starts."""

from __future__ import annotations

import contextlib
import json
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.harness.broker import ACL, LOOPBACK, Mosquitto, listening
from tests.harness.carried import notice_of, signed_notice
from tests.harness.daemon import COMMAND
from tests.harness.frames import Bpdu, bpdu
from tests.harness.guarded import OFFENDER, Scene, events, needs_daemon, state_of
from tests.harness.named_guest import NamedGuest
from tests.harness.published import desk, published
from tests.harness.signers import Signer
from tests.harness.waiting import wait_until

pytestmark = needs_daemon

ONE, TWO, ALICE = Signer("hv-1"), Signer("hv-2"), Signer("alice")
TAKEN: Any = {
    "mqtt.orders": {
        "enabled": True,
        "principals": [{"name": "alice", "key": ALICE.public, "may": ["quarantine"]}],
    }
}


def tables(own: Signer, other: Signer, key_file: Path) -> Any:
    key_file.write_bytes(own.private_pem)
    key_file.chmod(0o600)
    return {
        "checks.bpdu": {"action": "quarantine"},
        "hold": {"initial": "1h"},
        "mqtt.fleet": {
            "publish": True,
            "follow": True,
            "action": "quarantine",
            "key_file": str(key_file),
            "hosts": [{"name": other.name, "key": other.public}],
        },
    }


@contextlib.contextmanager
def bridged() -> Iterator[tuple[Mosquitto, Mosquitto]]:
    """A broker, and one that bridges to it as docs/operations.md says."""
    acl = (
        f"{ACL}user hv-2\ntopic write tapsentinel/hv-2/#\ntopic read tapsentinel/+/notices/+\n"
        "topic read tapsentinel/hv-2/orders/+\n"
    )
    with Mosquitto() as first:
        bridge = (
            f"connection between\naddress {LOOPBACK}:{first.plain_port}\n"
            "bridge_protocol_version mqttv50\ntopic tapsentinel/+/events/# out 1\n"
            "topic tapsentinel/+/notices/# both 1\ntopic tapsentinel/+/orders/# in 1\n"
            "topic tapsentinel/+/answers/# out 1\ncleansession false\nrestart_timeout 1"
        )
        second = Mosquitto(bridge)
        (second.directory / "acl").write_text(acl)
        with second:
            wait_until(lambda: "between" in first.log_file.read_text(), 20, "the bridge")
            yield first, second


@pytest.fixture(scope="module", name="hosts")
def _hosts(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Mosquitto, Mosquitto, Scene, Scene]]:
    place = tmp_path_factory.mktemp("keys")
    with (
        bridged() as (first, second),
        published(first, tables(ONE, TWO, place / "one")) as one,
        published(second, tables(TWO, ONE, place / "two") | TAKEN, host="hv-2") as two,
    ):
        yield first, second, one.scene, two.scene


@contextlib.contextmanager
def guest(scene: Scene, name: str, vm_uuid: str) -> Iterator[None]:
    tap = scene.lab.hypervisor.add_tap(name)
    with NamedGuest(tap, vm_uuid):
        try:
            wait_until(
                lambda: (
                    state_of(scene.sentinel, name) is not None
                    and scene.sentinel.port(name)["vm"]["uuid"] == vm_uuid
                ),
                20,
                "the VM to be known",
                0.05,
            )
            yield
        finally:
            scene.lab.hypervisor.remove(name)


def test_the_second_node_does_not_fall_to_the_same_guest(
    hosts: tuple[Mosquitto, Mosquitto, Scene, Scene], tmp_path: Path
) -> None:
    first, _, one, two = hosts
    vm_uuid = str(uuid.uuid4())
    config = desk(first, *first.listener, tmp_path / "desk.toml")
    said = tmp_path / "fleet"
    with said.open("wb") as out:
        watch = subprocess.Popen(
            [str(COMMAND), "watch", "--fleet", "--json", "--config", str(config)], stdout=out
        )
    try:
        wait_until(
            lambda: "as tapsentinel-watch-" in first.log_file.read_text(), 20, "watch --fleet"
        )
        with guest(one, "tapvalentine", vm_uuid):
            one.tap("tapvalentine").write(bpdu(Bpdu.STP))
            one.wait_for_state("tapvalentine", "quarantined")
        # An hour later the same user starts the guest on the other host.
        wait_until(lambda: events(two.sentinel, "notice.taken"), 30, "the notice", 0.05)
        with guest(two, "tapagain", vm_uuid):
            two.wait_for_state("tapagain", "quarantined", 20)
            held = two.sentinel.port("tapagain")["quarantine"]
            assert held["cause"] == "bpdu"
            assert held["reason"].startswith("known from hv-1: bpdu")
            two.tap("tapagain").write(bpdu(Bpdu.STP))
            assert two.wire.bpdus() == 0

            def hosts_of(kind: str) -> set[str]:
                entries = map(json.loads, said.read_text().splitlines())
                return {entry["host"] for entry in entries if entry["kind"] == kind}

            wait_until(lambda: hosts_of("quarantine.set") == {"hv-1", "hv-2"}, 20, "both told")
            assert "hv-2" in hosts_of("notice.matched")
            assert hosts_of("notice.issued") == {"hv-1"}, "no echo"
            # One command, and it stays released, whatever is delivered again.
            assert two.sentinel.cli("release", "tapagain").returncode == 0
            assert two.sentinel.port("tapagain")["state"] == "watched"
    finally:
        watch.terminate()
        watch.wait(10)


def test_a_withdrawal_reaches_the_other_host(
    hosts: tuple[Mosquitto, Mosquitto, Scene, Scene],
) -> None:
    _, _, one, two = hosts
    vm_uuid = str(uuid.uuid4())

    def known() -> int:
        return int(two.sentinel.json("status")["fleet"]["known"])

    before = known()
    with guest(one, "tapsorry", vm_uuid):
        one.tap("tapsorry").write(bpdu(Bpdu.STP))
        one.wait_for_state("tapsorry", "quarantined")
        wait_until(lambda: known() == before + 1, 30, "the notice", 0.05)
        assert one.sentinel.cli("release", "tapsorry").returncode == 0
        wait_until(lambda: known() == before, 30, "the withdrawal", 0.05)
    with guest(two, "tapsorry", vm_uuid):
        assert two.sentinel.port("tapsorry")["state"] == "watched"


def test_a_forged_notice_changes_nothing(
    hosts: tuple[Mosquitto, Mosquitto, Scene, Scene],
) -> None:
    first, _, _, two = hosts
    eve, vm_uuid = Signer("eve"), str(uuid.uuid4())
    lies = {
        "hv-1": signed_notice(eve, notice_of("hv-1", vm_uuid), by="hv-1"),
        "eve": signed_notice(eve, notice_of("eve", vm_uuid)),
        "hv-9": signed_notice(eve, notice_of("hv-1", vm_uuid), by="hv-1"),
    }
    with listening(first, name="eve") as broker:
        for host, lie in lies.items():
            broker.publish(f"tapsentinel/{host}/notices/lie", lie.encode(), retain=True)
        wait_until(lambda: events(two.sentinel, "notice.refused"), 30, "the refusal", 0.05)
        with guest(two, OFFENDER + "2", vm_uuid):
            assert two.sentinel.port(OFFENDER + "2")["state"] == "watched"
        for host in lies:
            broker.publish(f"tapsentinel/{host}/notices/lie", b"", retain=True)
    assert two.sentinel.json("status")["mqtt"]["connects"] == 1


def test_an_order_and_its_answer_cross_the_bridge(
    hosts: tuple[Mosquitto, Mosquitto, Scene, Scene], tmp_path: Path
) -> None:
    first, _, _, two = hosts
    certificate, tls_key = first.authority.issue("alice")
    config = desk(first, certificate, tls_key, tmp_path / "desk.toml")
    key = tmp_path / "alice.key"
    key.write_bytes(ALICE.private_pem)
    key.chmod(0o600)
    words = ["quarantine", OFFENDER, "--on", "hv-2", "--as", "alice", "--key", str(key)]
    done = subprocess.run(
        [str(COMMAND), *words, "--config", str(config)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert two.sentinel.port(OFFENDER)["state"] == "quarantined"
