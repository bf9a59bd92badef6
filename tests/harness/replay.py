# SPDX-License-Identifier: Apache-2.0
"""Captures through a real tap: what the programs count against what tshark counts.

`python -m tests.harness.replay FOLDER_OR_FILE…` prints a table, one capture a
line; exit status 1 if a count differs. docs/counting.md says where it may.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.harness.captures import (
    CaptureError,
    comparable,
    dissect,
    expected_counts,
    read_frames,
    same_terms,
)
from tests.harness.guarded_tap import GuardedTap
from tests.harness.model import Counts
from tests.harness.programs import difference

SUFFIXES = (".pcap", ".pcapng", ".cap")


@dataclass(frozen=True, slots=True)
class Replayed:
    """One capture. `refused` frames a tap does not take; `inside` frames have more in tunnels."""

    frames: int
    refused: int
    inside: int
    ours: Counts
    tsharks: Counts

    @property
    def gap(self) -> str:
        """What was counted more (+) or less (-) than tshark does; empty where all is the same."""
        return difference(*same_terms(self.ours, self.tsharks))


def replay(path: Path, tap: GuardedTap) -> Replayed:
    """Write a capture's frames to the tap. Raises CaptureError if it cannot be read."""
    frames, dissected = read_frames(path), dissect(path)
    if len(frames) != len(dissected):
        raise CaptureError(f"{len(frames)} frames here, {len(dissected)} in tshark")
    before, refused = tap.settled(), tap.refused
    taken = [tap.write(frame) for frame in frames]
    ours = comparable(tap.settled() - before)
    kept = [(frame, found) for frame, found, ok in zip(frames, dissected, taken, strict=True) if ok]
    return Replayed(
        frames=len(frames),
        refused=tap.refused - refused,
        inside=sum(found.inside for found in dissected),
        ours=ours,
        tsharks=expected_counts([frame for frame, _ in kept], [found for _, found in kept]),
    )


def captures_in(places: Sequence[Path]) -> list[Path]:
    """Every capture file in these folders, and the files among them."""
    found = [
        path
        for place in places
        for path in (sorted(place.rglob("*")) if place.is_dir() else [place])
    ]
    return [path for path in found if path.suffix in SUFFIXES and path.is_file()]


def lines(paths: Sequence[Path]) -> Iterator[tuple[str, bool]]:
    """(line of the table, whether a count differs) for each capture."""
    with GuardedTap() as tap:
        for path in paths:
            try:
                found = replay(path, tap)
            except CaptureError as problem:
                yield f"{path.name:40} skipped: {problem}", False
                continue
            notes = [f"{found.refused} not taken by a tap"] if found.refused else []
            notes += [f"{found.inside} with more in tunnels"] if found.inside else []
            notes += [f"DIFFERS {found.gap}"] if found.gap else []
            ours = " ".join(f"{name}={n}" for name, n in sorted(found.ours.items())) or "-"
            line = f"{path.name:40} {found.frames:6} frames | {ours} | "
            line += (
                "same"
                if not found.gap
                else " ".join(f"{name}={n}" for name, n in sorted(found.tsharks.items()))
            )
            yield line + (f" ({'; '.join(notes)})" if notes else ""), bool(found.gap)


def main() -> int:
    if len(sys.argv) < 2:
        print(__doc__, file=sys.stderr)
        return 2
    paths = captures_in([Path(word) for word in sys.argv[1:]])
    print(f"{'capture':40} {'':13} | ours | tshark's")
    differ = 0
    for line, differs in lines(paths):
        print(line, flush=True)
        differ += differs
    print(f"{len(paths)} captures, {differ} differ")
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(main())
