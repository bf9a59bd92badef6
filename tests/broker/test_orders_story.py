# SPDX-License-Identifier: Apache-2.0
"""From somebody's desk through the broker into the kernel, and the answer back."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sentinel.event import rfc3339
from tests.harness.afar import Principal, principal
from tests.harness.broker import LOOPBACK, PUBLISHER, Mosquitto
from tests.harness.carried import SECOND_NS, order_of, signed_order
from tests.harness.daemon import CHECKOUT, COMMAND
from tests.harness.guarded import OFFENDER, Scene, events, needs_daemon
from tests.harness.published import desk, published
from tests.harness.signers import Signer
from tests.harness.waiting import wait_until

pytestmark = needs_daemon

ALICE, BOB, EVE = Signer("alice"), Signer("bob"), Signer("eve")
ORDERS = f"tapsentinel/{PUBLISHER}/orders/"


@dataclass(frozen=True, slots=True)
class Afar:
    """A guarded host, and the desk of somebody who may order there."""

    scene: Scene
    broker: Mosquitto
    alice: Principal
    desk: Path
    key: Path

    def cli(self, *words: str, key: Path | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [
                *(str(COMMAND), *words, "--on", PUBLISHER, "--as", "alice"),
                *("--key", str(key or self.key), "--config", str(self.desk)),
            ],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def state(self) -> str:
        return str(self.scene.sentinel.port(OFFENDER)["state"])


@pytest.fixture(scope="module", name="shared")
def _shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Afar]:
    place = tmp_path_factory.mktemp("desk")
    tables: Any = {
        "checks.bpdu": {"action": "count"},
        "mqtt.orders": {
            "enabled": True,
            "principals": [
                {"name": "alice", "key": ALICE.public, "may": ["status", "quarantine", "release"]},
                {"name": "bob", "key": BOB.public, "may": ["status"]},
            ],
        },
    }
    key = place / "alice.key"
    key.write_bytes(ALICE.private_pem)
    key.chmod(0o600)
    with (
        Mosquitto() as broker,
        principal(broker, "alice") as alice,
        published(broker, tables) as host,
    ):
        config = desk(broker, alice.certificate, alice.tls_key, place / "desk.toml")
        afar = Afar(host.scene, broker, alice, config, key)
        wait_until(lambda: afar.cli("status").returncode == 0, 30, "the first answer", 0.1)
        alice.answers.clear()
        yield afar


@pytest.fixture(name="afar")
def _afar(shared: Afar) -> Afar:
    """The port is watched to begin with."""
    shared.scene.sentinel.cli("release", OFFENDER)
    shared.alice.answers.clear()
    return shared


def test_a_port_is_cut_and_released_as_by_hand(afar: Afar) -> None:
    began = time.monotonic()
    done = afar.cli("quarantine", OFFENDER, "--for", "1h", "--reason", "it floods")
    took_s = time.monotonic() - began
    assert done.returncode == 0, done.stderr
    assert afar.state() == "quarantined"
    held = afar.scene.sentinel.port(OFFENDER)["quarantine"]
    assert held["cause"] == "order"
    assert "alice" in held["reason"]
    here = afar.scene.sentinel.cli("quarantine", OFFENDER)
    assert here.returncode == 0
    assert done.stdout.split()[0] == here.stdout.split()[0], "said like the order given there"
    said = [one["body"] for one in events(afar.scene.sentinel, "order.done")][-1]
    assert (said["by"], said["via"]) == ("alice", f"{LOOPBACK}:{afar.broker.port}")
    assert "@" in said["sender"]
    done = afar.cli("release", OFFENDER, "--json")
    assert json.loads(done.stdout)["state"] == "watched"
    assert afar.state() == "watched"
    print(f"an order took {took_s:.2f} s, the command's start included")


def test_status_says_what_it_says_there(afar: Afar) -> None:
    shown, here = afar.cli("status").stdout, afar.scene.sentinel.cli("status").stdout
    assert shown.splitlines()[0].partition(", for")[0] == here.splitlines()[0].partition(", for")[0]
    found = json.loads(afar.cli("status", "--json").stdout)
    assert found["host"] == afar.scene.sentinel.json("status")["host"]
    assert found["mqtt"]["problems"] == []


def test_what_is_refused_there_is_refused_here(afar: Afar, tmp_path: Path) -> None:
    done = afar.cli("quarantine", "tapnone")
    assert done.returncode == 1
    assert "tapnone" in done.stderr
    stolen = tmp_path / "eve.key"
    stolen.write_bytes(EVE.private_pem)
    stolen.chmod(0o600)
    done = afar.cli("quarantine", OFFENDER, key=stolen)
    assert done.returncode == 1
    assert "the signature is not that of 'alice'" in done.stderr
    assert afar.state() == "watched"


def test_what_nobody_answers_is_said(afar: Afar, tmp_path: Path) -> None:
    words = [str(COMMAND), "release", OFFENDER, "--as", "alice", "--key", str(afar.key)]
    nobody = subprocess.run(
        [*words, "--on", "hv-9", "--config", str(afar.desk)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert nobody.returncode == 3
    assert "nobody at the broker takes orders for hv-9; no order was given" in nobody.stderr
    away = tmp_path / "away.toml"
    away.write_text('[mqtt]\nhost = "127.0.0.1"\nport = 1\n')
    gone = subprocess.run(
        [*words, "--on", PUBLISHER, "--config", str(away)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert gone.returncode == 3
    assert "Connection refused; no order was given" in gone.stderr


def test_a_daemon_that_stands_still_leaves_an_order_in_doubt(afar: Afar) -> None:
    afar.scene.sentinel.signal(signal.SIGSTOP)
    try:
        done = afar.cli("release", OFFENDER, "--wait", "2s")
    finally:
        afar.scene.sentinel.signal(signal.SIGCONT)
    assert done.returncode == 3
    assert "no answer from hv-1 within 2s; the order may still be carried out until" in done.stderr


def test_a_key_that_others_may_read_is_not_used(afar: Afar, tmp_path: Path) -> None:
    loose = tmp_path / "loose.key"
    loose.write_bytes(ALICE.private_pem)
    loose.chmod(0o644)
    done = afar.cli("status", key=loose)
    assert done.returncode == 2
    assert "is a private key that others may read" in done.stderr
    loose.chmod(0o600)
    loose.write_text("no key")
    done = afar.cli("status", key=loose)
    assert done.returncode == 2
    assert "is no private key" in done.stderr


def test_what_is_delivered_twice_is_done_once_and_answered_alike(afar: Afar) -> None:
    message = signed_order(ALICE, order_of("quarantine", OFFENDER, host=PUBLISHER)).encode()
    first = afar.alice.ask(message)
    assert (first["repeated"], first["result"]["state"]) == (False, "quarantined")
    afar.scene.sentinel.cli("release", OFFENDER)
    second = afar.alice.ask(message)
    assert second["repeated"] is True
    assert second["result"] == first["result"]
    assert afar.state() == "watched", "an order of before cuts nothing again"


def test_replays_and_forgeries_change_nothing(afar: Afar) -> None:
    now_ns = time.time_ns()
    overheard = signed_order(ALICE, order_of("quarantine", OFFENDER, host=PUBLISHER)).encode()
    with principal(afar.broker, "bob") as bob:
        bob.send(overheard, correlation=b"replay")
        bob.send(overheard, topic=ORDERS + "alice", correlation=b"trespass")
        lies = {
            "forged": signed_order(EVE, order_of("quarantine", OFFENDER, host=PUBLISHER), "bob"),
            "may not": signed_order(BOB, order_of("quarantine", OFFENDER, host=PUBLISHER)),
        }
        refusals = {name: bob.ask(lie.encode())["error"] for name, lie in lies.items()}
        assert not bob.answers_to(b"replay")
        assert not bob.answers_to(b"trespass")
    late = order_of(
        "quarantine", OFFENDER, host=PUBLISHER,
        issued=rfc3339(now_ns - 90 * SECOND_NS), expires=rfc3339(now_ns - 30 * SECOND_NS),
    )  # fmt: skip
    early = order_of("quarantine", OFFENDER, host=PUBLISHER)
    early["issued"] = rfc3339(now_ns + 600 * SECOND_NS)
    early["expires"] = rfc3339(now_ns + 660 * SECOND_NS)
    elsewhere = order_of("quarantine", OFFENDER, host="hv-2")
    for name, payload in {"expired": late, "clocks": early, "this is": elsewhere}.items():
        refusals[name] = afar.alice.ask(signed_order(ALICE, payload).encode())["error"]
    assert {one["code"] for one in refusals.values()} == {"refused"}
    assert "expired" in refusals["expired"]["message"]
    assert "clocks" in refusals["clocks"]["message"]
    assert "this is 'hv-1'" in refusals["this is"]["message"]
    assert "not that of 'bob'" in refusals["forged"]["message"]
    assert "may not order" in refusals["may not"]["message"]
    afar.alice.send(overheard, retain=True)
    afar.alice.send(overheard, answer_topic=f"tapsentinel/{PUBLISHER}/status")
    assert afar.cli("status").returncode == 0, "orders are carried one after the other"
    assert afar.state() == "watched"
    afar.alice.send(b"", retain=True)


def documented_script() -> str:
    """What docs/operations.md shows of an order without the command."""
    text = (CHECKOUT / "docs" / "operations.md").read_text()
    block = text.partition("mosquitto_rr` and openssl:\n\n")[2].partition("\n\n")[0]
    return "\n".join(line.removeprefix("    ") for line in block.splitlines())


def test_the_documented_order_without_the_command(afar: Afar, tmp_path: Path) -> None:
    script = documented_script()
    (tmp_path / "alice.key").write_bytes(ALICE.private_pem)
    for name, what in {
        "mqtt.example.net": LOOPBACK,
        "-p 8883": f"-p {afar.broker.port}",
        "ca.pem": str(afar.broker.authority.certificate),
        "desk.pem": str(afar.alice.certificate),
        "desk.key": str(afar.alice.tls_key),
        "compute-1": PUBLISHER,
        "tap7": OFFENDER,
    }.items():
        assert name in script
        script = script.replace(name, what)
    done = subprocess.run(
        ["sh", "-euc", script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["result"]["state"] == "quarantined"
    assert afar.state() == "quarantined"
