# SPDX-License-Identifier: Apache-2.0
"""`watch --fleet` follows the hosts through the broker."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from sentinel.mqtt.fleet import entry_of
from tests.broker.test_publish import expect_all
from tests.harness.broker import ACL, LOOPBACK, Listener, Mosquitto, listening
from tests.harness.publisher import COMMAND, Host
from tests.harness.waiting import wait_until


def lines(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []


def test_it_tells_what_hosts_tell(
    broker: Mosquitto, listener: Listener, host: Host, tmp_path: Path
) -> None:
    broker.rewrite_acl(ACL + "user hv-1\ntopic read tapsentinel/+/events/#\n")
    host.start_daemon()
    host.start()
    said, plain = tmp_path / "json", tmp_path / "text"
    words = [str(COMMAND), "watch", "--fleet", "--config", str(host.config)]
    with said.open("wb") as out, plain.open("wb") as text:
        watches = [
            subprocess.Popen([*words, "--json"], stdout=out),
            subprocess.Popen(words, stdout=text),
        ]
    try:
        wait_until(
            lambda: broker.log_file.read_text().count("as tapsentinel-watch-") == 2, 20, "both"
        )

        # Connected is not yet subscribed: events until the first of them is told.
        def told() -> bool:
            host.append(500)
            return bool(lines(said)) and bool(lines(plain))

        wait_until(told, 30, "events")
        wait_until(lambda: len(lines(said)) >= 500, 30, "all of them")
    finally:
        for watch in watches:
            watch.terminate()
            watch.wait(10)
    entry = json.loads(lines(said)[0])
    assert (entry["host"], entry["kind"]) == ("hv-1", "incident.updated")
    assert {"id", "seq", "time", "port", "body"} <= set(entry)
    assert lines(plain)[0].startswith("hv-1 #")


def test_who_may_not_read_is_told_so(broker: Mosquitto, listener: Listener, host: Host) -> None:
    host.configure(host="")
    text = host.config.read_text().replace("enabled = true", "enabled = false")
    host.config.write_text(text)
    words = [str(COMMAND), "watch", "--fleet", "--config", str(host.config)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2
    assert "mqtt.host: is empty: there is no broker to ask" in done.stderr


def test_a_broker_above_is_told_by_a_bridge(broker: Mosquitto, host: Host) -> None:
    bridge = (
        f"connection below\naddress {LOOPBACK}:{broker.plain_port}\n"
        "topic tapsentinel/# in 1\ncleansession false\nrestart_timeout 1"
    )
    with Mosquitto(bridge) as above, listening(above) as listener:
        wait_until(lambda: "below" in broker.log_file.read_text(), 20, "the bridge")
        host.start_daemon()
        host.append(1000)
        host.start()
        expect_all(listener, 1000)
        broker.stop()
        host.append(500)
        broker.start()
        wait_until(lambda: len(set(listener.ids)) == 1500, 60, "what came meanwhile", 0.1)
        first = [*dict.fromkeys(listener.ids)]
        assert first == sorted(first, key=lambda one: int(one.split("-")[1]))
        wait_until(lambda: b'"online"' in listener.on("/status")[-1], 20, "the birth")


@pytest.mark.parametrize("raw", [b"", b"[]", b"{}", b'"x"', b'{"data":3,"type":"a"}', b"\xff"])
def test_anything_may_be_on_a_topic(raw: bytes) -> None:
    assert entry_of(raw) is None
