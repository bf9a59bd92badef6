# SPDX-License-Identifier: Apache-2.0
"""The two loaders side by side: how long one takes, in how much memory, for which programs."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bench import measure
from bench.report import Load, Row
from sentinel.loader import objects
from sentinel.loader.choose import Loader, choose_loader
from sentinel.loader.pins import Pins
from tests.harness.dhcp import DhcpType, dhcp
from tests.harness.frames import GUEST_MAC, Bpdu, bpdu
from tests.harness.packets import tcp_frame
from tests.harness.programs import FROM_GUEST, PORT, Programs, own_pins, remove_pins

ROUNDS = 5
KEPT = "bcc, kept from an earlier start"


def load_rows() -> Iterator[Load]:
    """The median of some loads, each from a process of its own."""
    for loader in ("libbpf", "bcc", KEPT):
        found = []
        for _ in range(ROUNDS):
            command = [sys.executable, "-m", __spec__.name, loader]
            done = subprocess.run(command, capture_output=True, check=True)
            found.append(Load(loader, *json.loads(done.stdout)))
        yield sorted(found, key=lambda each: each.elapsed_ns)[ROUNDS // 2]


def frame_rows() -> Iterator[Row]:
    """What a frame costs in the programs of each: `base` is libbpf's, `cost` BCC's."""
    cases = {
        "TCP": tcp_frame(GUEST_MAC, "52:54:00:aa:bb:cc", "192.0.2.9", "192.0.2.1"),
        "BPDU rstp": bpdu(Bpdu.RSTP),
        "DHCP": dhcp(DhcpType.DISCOVER),
    }
    with Programs(loader="libbpf") as ours, Programs(loader="bcc") as other:
        for programs in (ours, other):
            with programs.netns.enter():
                programs.add(PORT, mtu_bytes=1500)
        fds = [objects.open_pinned(programs.guard.pins) or {} for programs in (ours, other)]
        try:
            for name, frame in cases.items():
                first, second = (measure.program_on(each[FROM_GUEST], frame, PORT) for each in fds)
                with ours.netns.enter():
                    yield Row(name, FROM_GUEST, measure.alternate(first, second), None)
        finally:
            for each in fds:
                objects.close_all(each)


def load_once(wanted: str) -> None:
    """Prints nanoseconds and bytes as JSON, and leaves nothing behind."""
    with tempfile.TemporaryDirectory() as folder:
        loader = choose_loader("libbpf" if wanted == "libbpf" else "bcc", objects.OBJECTS_FOLDER)
        if wanted == KEPT:
            loader = choose_loader("bcc", objects.OBJECTS_FOLDER, Path(folder))
            _load(loader)
        elapsed_ns = _load(loader)
    who = resource.RUSAGE_CHILDREN if wanted == "bcc" else resource.RUSAGE_SELF
    print(json.dumps([elapsed_ns, resource.getrusage(who).ru_maxrss << 10]))


def _load(loader: Loader) -> int:
    pins = Pins(own_pins())
    pins.prepare()
    try:
        started_ns = time.monotonic_ns()
        programs = loader.load(pins)
        elapsed_ns = time.monotonic_ns() - started_ns
        objects.close_all(programs)
    finally:
        remove_pins(pins.root)
    return elapsed_ns


if __name__ == "__main__":
    load_once(sys.argv[1])
