# SPDX-License-Identifier: Apache-2.0
"""Story 3 without a sentinel: one BPDU of one guest cuts off its neighbours."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.frames import Bpdu, bpdu
from tests.harness.hypervisor import Lab
from tests.harness.namespaces import leftovers
from tests.harness.waiting import wait_until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces and taps need root")


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab() as lab:
        yield lab


def test_a_guests_spanning_tree_cuts_its_neighbours_off(lab: Lab) -> None:
    neighbour, offender = lab.add_guest("tapneighbour"), lab.add_guest("tapoffender")
    assert neighbour.ping(lab.outside).lost == 0

    with lab.capture() as wire:
        offender.turn_on_spanning_tree()
        line = lab.switch.wait_until_disabled()

        assert "BPDU received on blocked port" in line
        assert lab.port in line
        assert wire.by_bpdu()[Bpdu.STP] >= 1
        assert neighbour.ping(lab.outside, timeout_s=0.3).loss_percent == 100

    offender.turn_off_spanning_tree()
    lab.switch.reset_port()
    assert lab.switch.state() == "forwarding"
    assert neighbour.ping(lab.outside).lost == 0
    assert offender.ping(lab.outside).lost == 0


def test_the_guest_goes_on_sending_bpdus(lab: Lab) -> None:
    offender = lab.add_guest("tapoffender")
    with lab.capture() as wire:
        offender.turn_on_spanning_tree()
        wait_until(lambda: wire.bpdus() >= 3, 5, "a third BPDU")
        assert {entry.src for entry in wire.entries() if entry.bpdu} == {offender.mac}


def test_a_bare_taps_single_frame_is_enough(lab: Lab) -> None:
    tap = lab.add_tap("tap0")
    assert lab.switch.log() == []
    tap.write(bpdu(Bpdu.STP))
    lab.switch.wait_until_disabled()
    assert len(lab.switch.log()) == 1


def test_a_frozen_guest_is_silent_until_it_thaws(lab: Lab) -> None:
    guest = lab.add_guest("tapfrozen")
    assert lab.outside.ping(guest).lost == 0
    guest.freeze()
    assert lab.outside.ping(guest, timeout_s=0.2).received == 0
    guest.thaw()
    assert lab.outside.ping(guest).lost == 0


def test_guests_that_offload_pass_super_frames(lab: Lab) -> None:
    guest = lab.add_guest("tapoffload", offload=True)
    assert guest.ping(lab.outside).lost == 0


def test_nothing_is_left_behind_even_after_an_error() -> None:
    names: list[str] = []
    relays: list[int] = []

    class BrokenTestError(Exception):
        pass

    def broken() -> None:
        with Lab() as lab:
            guest = lab.add_guest("tapgone")
            lab.add_tap("tapbare")
            assert {"br0", "uplink0", "tapgone", "tapbare"} <= set(lab.hypervisor.netns.links())
            for part in (lab.hypervisor, lab.switch, lab.outside, guest):
                names.append(part.netns.name)
            relays.append(guest._relay.pid)
            raise BrokenTestError

    with pytest.raises(BrokenTestError):
        broken()
    assert not set(names) & set(leftovers())
    assert not any(Path(f"/proc/{pid}").exists() for pid in relays)
    links = Path("/proc/self/net/dev").read_text()
    assert "tapgone" not in links
    assert "tapbare" not in links
