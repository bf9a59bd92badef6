# SPDX-License-Identifier: Apache-2.0
"""Ports that come while the daemon runs, one or hundreds: guarded soon, harmless until then."""

from __future__ import annotations

import time

import pytest

from tests.harness.daemon import Tables
from tests.harness.frames import GUEST_MAC, Bpdu, bpdu
from tests.harness.guarded import QUARANTINE, events, guarded, needs_daemon, state_of
from tests.harness.waiting import wait_until

pytestmark = needs_daemon

BURST = 300


def test_a_new_tap_is_guarded_within_a_second_and_harmless_before() -> None:
    with guarded(QUARANTINE, taps=["tapone"]) as scene:
        began = time.monotonic()
        tap = scene.lab.hypervisor.add_tap("tapnew")
        sent = 0
        while state_of(scene.sentinel, "tapnew") not in ("watched", "quarantined"):
            tap.write(bpdu(Bpdu.STP))
            sent += 1
            assert time.monotonic() - began < 10
        (attached,) = [
            one for one in events(scene.sentinel, "guard.attached") if one["port"] == "tapnew"
        ]
        (appeared,) = [
            one for one in events(scene.sentinel, "port.appeared") if one["port"] == "tapnew"
        ]
        assert attached["time_ns"] - appeared["time_ns"] < 1e9
        took_s = time.monotonic() - began
        print(f"guarded after {took_s * 1e3:.0f} ms, {sent} BPDUs before")
        tap.write(bpdu(Bpdu.STP))
        scene.wait_for_state("tapnew", "quarantined")
        assert scene.wire.bpdus() == 0
        assert scene.wire.frames_from(GUEST_MAC) == 0


def test_a_tap_that_goes_takes_its_pins_along() -> None:
    with guarded(QUARANTINE, taps=["tapone", "taptwo"]) as scene:
        links, marks = scene.sentinel.pins / "links", scene.sentinel.pins / "clsact"
        before = len(list(links.iterdir())) + len(list(marks.iterdir()))
        scene.lab.hypervisor.remove("taptwo")

        def after() -> int:
            return len(list(links.iterdir())) + len(list(marks.iterdir()))

        wait_until(lambda: after() < before, 10, "the pins to go", 0.02)
        assert state_of(scene.sentinel, "taptwo") is None


@pytest.mark.slow
def test_a_burst_of_three_hundred() -> None:
    names = [f"tap{number}" for number in range(BURST)]
    tables: Tables = {**QUARANTINE, "fuse": {"max_quarantined": "100%"}}
    with guarded(tables, taps=["tapone"]) as scene:
        began = time.monotonic()
        taps = scene.lab.hypervisor.add_taps(names)
        for tap in taps:
            tap.write(bpdu(Bpdu.RSTP))
        wait_until(
            lambda: scene.sentinel.json("status")["guard"]["watched"] == BURST + 1,
            120,
            "all of them to be guarded",
            0.1,
        )
        print(f"{BURST} taps guarded after {time.monotonic() - began:.1f} s")
        for tap in taps:
            tap.write(bpdu(Bpdu.RSTP))
        wait_until(
            lambda: scene.sentinel.json("status")["guard"]["quarantined"] == BURST,
            30,
            "all of them to be cut",
            0.1,
        )
        assert scene.wire.bpdus() == 0
        assert scene.lab.switch.log() == []
