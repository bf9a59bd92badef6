# SPDX-License-Identifier: Apache-2.0
"""SIGHUP: the publisher reads its files anew and connects anew; a wrong file changes nothing."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import pytest

from tests.broker.test_publish import expect_all
from tests.harness.broker import Listener, Mosquitto, listening
from tests.harness.publisher import Host
from tests.harness.waiting import wait_until

EVENTS = 200


def hang_up(host: Host) -> None:
    os.kill(host.publisher_pid, signal.SIGHUP)


def test_another_broker_without_a_restart(
    broker: Mosquitto, listener: Listener, host: Host
) -> None:
    host.start_daemon()
    host.append(EVENTS)
    host.start()
    expect_all(listener, EVENTS)
    pid = host.publisher_pid
    with Mosquitto() as second, listening(second) as there:
        host.broker = second
        host.configure(
            ca_file=str(second.authority.certificate),
            cert_file=str(second.certificate),
            key_file=str(second.key),
        )
        hang_up(host)
        wait_until(
            lambda: (
                str(host.status()["mqtt"]["broker"]).endswith(f":{second.port}")
                and host.status()["mqtt"]["state"] == "connected"
            ),
            30,
            "the second broker",
            0.1,
        )
        host.append(EVENTS)
        wait_until(lambda: host.cursor_seq() == 2 * EVENTS, 30, "all to be acknowledged", 0.1)
        # The first broker has the first events, the second the rest; none is missing.
        wait_until(lambda: len(there.events()) >= EVENTS, 30, "the rest to arrive", 0.1)
        assert host.publisher_pid == pid
        assert host.stop() == 0


def test_a_wrong_file_and_a_restart_s_keys_change_nothing(listener: Listener, host: Host) -> None:
    host.start_daemon()
    host.start()
    host.append(EVENTS)
    expect_all(listener, EVENTS)
    right = host.config.read_text()
    connects = host.status()["mqtt"]["connects"]
    for wrong, words in (
        (right.replace("[mqtt]", "[mqtt]\nnosuch = 1"), "mqtt.nosuch"),
        (right.replace("[mqtt]", '[mqtt]\nroot = "other"'), "mqtt.root"),
        (right.replace("[mqtt]", "[mqtt]\nwindow = 0"), "mqtt.window"),
    ):
        host.config.write_text(wrong)
        hang_up(host)
        host.wait_for(words)
    host.append(EVENTS)
    expect_all(listener, 2 * EVENTS)
    assert host.status()["mqtt"]["connects"] == connects
    host.config.write_text(right)
    hang_up(host)
    wait_until(lambda: host.status()["mqtt"]["connects"] > connects, 30, "a connection", 0.1)
    wait_until(lambda: host.status()["problems"] == [], 30, "no problem", 0.1)
    host.append(EVENTS)
    expect_all(listener, 3 * EVENTS)


def test_the_service_manager_is_told(
    listener: Listener, host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = host.directory / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(place))
        place.chmod(0o777)
        manager.settimeout(20)
        monkeypatch.setenv("NOTIFY_SOCKET", str(place))
        monkeypatch.setenv("WATCHDOG_USEC", "400000")
        host.start_daemon()
        host.start()
        told: list[str] = []

        def hear(words: str) -> None:
            while not told or words not in told[-1]:
                told.append(manager.recv(4096).decode())

        hear("READY=1\nSTATUS=connecting to ")
        hear("STATUS=connected to ")
        hear("WATCHDOG=1")
        hang_up(host)
        hear("RELOADING=1\nMONOTONIC_USEC=")
        hear("READY=1\nSTATUS=configuration read anew")
        hear("STATUS=connected to ")
        for _ in range(3):
            hear("WATCHDOG=1")
            told.append("")
        assert host.stop() == 0
        hear("STOPPING=1")
