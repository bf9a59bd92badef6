# SPDX-License-Identifier: Apache-2.0
"""`make demo`: one guest's spanning tree against its neighbours, told live.

Run from the checkout as `python -m tools.demo [unguarded|guarded]`, as root.
Exit codes: 0 the guard kept every promise, 1 it did not, 2 the demo cannot run.

It plays in a mount namespace of its own, so that a bpffs that the daemon mounts,
and every pin on it, is gone when it ends, even by SIGKILL.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType

from tests.harness.demo_story import Half, play_guarded, play_unguarded
from tests.harness.namespaces import leftovers

LONGEST_S = 55
KEPT, BROKEN, CANNOT = 0, 1, 2
NEEDED = ("ip", "bridge", "nsenter", "unshare", "mount", "cc", "clang")
APART = "TAPSENTINEL_DEMO_APART"

PICTURE = """\
  tapweb ─┐
  tapdb  ─┤ br0 ── uplink0 ═══ switch (BPDU guard) ═══ outside
  tapnew ─┘  hypervisor\
"""
RED, GREEN, BOLD, DIM, PLAIN = "\033[31m", "\033[32m", "\033[1m", "\033[2m", "\033[0m"


class Screen:
    """Lines with the seconds since the half began; colour only on a terminal."""

    def __init__(self) -> None:
        self._colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        self._began = time.monotonic()

    def chapter(self, title: str) -> None:
        """A half begins."""
        self._began = time.monotonic()
        self.line()
        self.line(self.paint(f"── {title} ".ljust(78, "─"), BOLD))

    def say(self, who: str, text: str, *, alarm: bool = False) -> None:
        """Something happened just now."""
        shown = f"{self._seconds()}  {who:<9} {printable(text)}"
        self.line(self.paint(shown, RED if alarm else PLAIN))

    def pings(self, marks: Mapping[str, str]) -> None:
        """Show pings as dots and crosses."""
        shown = "  ".join(f"{name} {text:<11}" for name, text in marks.items())
        lost = any("x" in text for text in marks.values())
        self.line(
            self.paint(f"{self._seconds()}  ping      {shown}".rstrip(), RED if lost else DIM)
        )

    def line(self, text: str = "") -> None:
        """One line, at once."""
        print(text, flush=True)

    def paint(self, text: str, code: str) -> str:
        """Colour where there is a terminal."""
        return f"{code}{text}{PLAIN}" if self._colour and code != PLAIN else text

    def _seconds(self) -> str:
        return f"{time.monotonic() - self._began:5.1f} s"


def printable(text: str) -> str:
    """Text that may hold a guest's bytes, without anything a terminal obeys."""
    return "".join(sign if sign.isprintable() else f"\\x{ord(sign):02x}" for sign in text)


def table(halves: list[Half]) -> Iterator[str]:
    """The closing table: a row per fact, a column per half."""
    rows = [("", *("guarded" if half.guarded else "unguarded" for half in halves))]
    rows.append(("BPDUs the guest sent", *(str(half.bpdus_from_guest) for half in halves)))
    rows.append(("BPDUs on the wire", *(str(half.bpdus_on_wire) for half in halves)))
    rows.append(("the switch's port", *(half.switch_state for half in halves)))
    rows.append(("the switch's log", *(f"{len(half.switch_log)} lines" for half in halves)))
    for name in halves[0].tallies:
        tallies = [half.tallies[name] for half in halves]
        rows.append(
            (f"pings to {name}", *(f"{tally.lost} of {tally.sent} lost" for tally in tallies))
        )
    rows.append(
        (
            "neighbours cut off for",
            *("0 s" if half.outage_s is None else f"{half.outage_s:.1f} s" for half in halves),
        )
    )
    for row in rows:
        yield f"  {row[0]:<24}" + "".join(f"{cell:<24}" for cell in row[1:]).rstrip()


def cannot_run() -> str | None:
    """Why the demo cannot run here, and what to do."""
    if os.geteuid() != 0:
        return "needs root, for namespaces, taps and bpf(2): run it as root"
    if missing := [name for name in NEEDED if shutil.which(name) is None]:
        return f"needs {', '.join(missing)}: run `make setup`, which installs what is missing"
    if not Path("/dev/net/tun").exists():
        return "needs /dev/net/tun: load the tun module"
    return None


def play(halves: list[str], screen: Screen) -> int:
    """Play the halves and judge the guarded one."""
    screen.line(screen.paint("One guest turns spanning tree on; its neighbours pay.", BOLD))
    screen.line(PICTURE)
    played = []
    if "unguarded" in halves:
        played.append(play_unguarded(screen))
    if "guarded" in halves:
        played.append(play_guarded(screen))
    screen.line()
    complete = [half for half in played if half.tallies]
    for line in table(complete) if complete else ():
        screen.line(line)
    screen.line()
    complaints = [problem for half in played for problem in half.complaints]
    left = leftovers(os.getpid())
    complaints += [f"left behind: {', '.join(left)}"] if left else []
    for problem in complaints:
        screen.line(screen.paint(f"FAILED: {printable(problem)}", RED))
    if not complaints and "guarded" in halves:
        screen.line(screen.paint("The guard held: no BPDU on the wire, no ping lost.", GREEN))
    return BROKEN if complaints else KEPT


def end_in_time(number: int, _frame: FrameType | None) -> None:
    """Leave by an exception, so that everything is cleaned up on the way."""
    if number == signal.SIGALRM:
        raise TimeoutError(f"the demo did not end within {LONGEST_S} s")
    raise KeyboardInterrupt


def main() -> int:
    """Move apart, play, and say how it went."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__.split("\n")[0])
    parser.add_argument("half", nargs="?", choices=("unguarded", "guarded"))
    chosen = parser.parse_args().half
    if problem := cannot_run():
        print(f"the demo {problem}", file=sys.stderr)
        return CANNOT
    if APART not in os.environ:
        command = ["unshare", "--mount", "--propagation", "private"]
        command += [sys.executable, "-m", "tools.demo", *([chosen] if chosen else [])]
        os.execvpe("unshare", command, {**os.environ, APART: "1"})  # noqa: S606
    subprocess.run(["mount", "-t", "bpf", "bpf", "/sys/fs/bpf"], check=True)
    for number in (signal.SIGALRM, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end_in_time)
    signal.alarm(LONGEST_S)
    try:
        return play([chosen] if chosen else ["unguarded", "guarded"], Screen())
    except KeyboardInterrupt:
        print("interrupted; everything is taken down", file=sys.stderr)
        return CANNOT
    except (TimeoutError, RuntimeError, OSError) as problem:
        notes = "\n".join(getattr(problem, "__notes__", []))
        print(f"the demo failed: {problem}\n{notes}".rstrip(), file=sys.stderr)
        return BROKEN
    finally:
        signal.alarm(0)


if __name__ == "__main__":
    sys.exit(main())
