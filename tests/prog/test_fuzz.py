# SPDX-License-Identifier: Apache-2.0
"""Random frames through every program: verdicts, counters and latches are the model's.

TAPSENTINEL_SEED repeats a run; a failure names its seed and the first frame that differs.
"""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from random import Random

import pytest

from sentinel.decode import ACTIONS, CHECKS
from tests.harness.fuzz import corpus, may_be_refused, segment_bytes_of, spoiled_frame
from tests.harness.programs import (
    FROM_GUEST,
    FROM_WIRE,
    OTHER_PORT,
    PORT,
    PROGRAMS,
    STRAYS,
    TO_GUEST,
    TO_WIRE,
    UNWATCHED,
    UPLINK,
    FrameRefusedError,
    IngressRefusedError,
    Programs,
    within,
)

BATCH = 500
WHERE = {
    FROM_GUEST: (PORT, PORT, OTHER_PORT, STRAYS[0], UNWATCHED),
    TO_GUEST: (PORT, OTHER_PORT, STRAYS[0]),
    TO_WIRE: (UPLINK,),
    FROM_WIRE: (UPLINK,),
}
ORIGINS = (0, PORT, OTHER_PORT, STRAYS[0], UNWATCHED, UPLINK)
OFTEN = (FROM_GUEST, FROM_GUEST, FROM_GUEST, TO_WIRE, TO_WIRE, TO_GUEST, FROM_WIRE)


@dataclass(frozen=True, slots=True)
class Passage:
    """One frame through one program."""

    program: str
    ifindex: int
    frame: bytes
    ingress_ifindex: int
    segment_bytes: int


def set_stage(programs: Programs, rng: Random) -> None:
    """New ports and a new policy, so that latches, windows and rates begin anew."""
    cuts = rng.random() < 0.7
    checks = {
        check: within(rng.choice((1, 1, 2, 5, 40)), rng.choice(ACTIONS) if cuts else "count")
        for check in CHECKS
    }
    programs.configure(
        checks,
        host_bpdu=rng.choice(("count", "drop")),
        events_per_window=rng.choice((0, 3, 50)),
        max_quarantined=rng.choice((0, 1, 2, 1000)),
        messages_per_window=rng.choice((0, 1, 3, 20, 1000)),
    )
    for ifindex in (PORT, OTHER_PORT, STRAYS[0]):
        trusted = [check for check in CHECKS if rng.random() < 0.2]
        programs.add(ifindex, mtu_bytes=rng.choice((0, 100, 1496, 1500)), trusted=trusted)
    programs.add(UPLINK, role="uplink", mtu_bytes=rng.choice((0, 100, 1500)))
    programs.forget_exchanges()


def passages(rng: Random, origins: tuple[int, ...]) -> list[Passage]:
    made = []
    for _ in range(BATCH):
        program, frame = rng.choice(OFTEN), spoiled_frame(rng)
        ingress = rng.choice(origins) if program == TO_WIRE else 0
        place = rng.choice(WHERE[program])
        made.append(Passage(program, place, frame, ingress, segment_bytes_of(rng, frame)))
    return made


def play(programs: Programs, batch: list[Passage], *, each: bool = False) -> None:
    """Run a batch and hold it against the model: at its end, or after `each` passage."""
    for passage in batch:
        program, ifindex, frame = passage.program, passage.ifindex, passage.frame
        ingress, segment = passage.ingress_ifindex, passage.segment_bytes
        try:
            programs.run_beside_model(
                program, frame, ifindex, ingress_ifindex=ingress, segment_bytes=segment
            )
        except FrameRefusedError:
            assert may_be_refused(frame, segment), passage
            continue
        if each:
            try:
                programs.assert_model()
            except AssertionError as differs:
                raise AssertionError(f"{differs}; {passage}, {frame.hex()}") from None
    programs.assert_model()


def known_origins(programs: Programs) -> tuple[int, ...]:
    programs.add(UPLINK, role="uplink")
    try:
        programs.run(TO_WIRE, corpus()[0], UPLINK, ingress_ifindex=UNWATCHED)
    except IngressRefusedError:
        return (0,)
    return ORIGINS


def fuzz(programs: Programs, seed: int, frames: int) -> None:
    origins = known_origins(programs)
    for number in range(-(-frames // BATCH)):
        batch_seed = f"{seed}/{number}"
        try:
            rng = Random(batch_seed)
            set_stage(programs, rng)
            batch = passages(rng, origins)
            play(programs, batch)
        except AssertionError:
            set_stage(programs, Random(batch_seed))
            try:
                play(programs, batch, each=True)
            except AssertionError as first:
                differs = first
            pytest.fail(f"TAPSENTINEL_SEED={seed}, batch {number}: {differs}")
        programs.drain()
        programs.drain_messages()


def seed_of(default: int) -> int:
    return int(os.environ.get("TAPSENTINEL_SEED", default))


@pytest.mark.parametrize("part", range(2))
def test_some(programs: Programs, part: int) -> None:
    """30,000 frames, the same ones every time."""
    fuzz(programs, seed_of(part), 15_000)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(4))
def test_a_million(programs: Programs, part: int) -> None:
    """Others every time."""
    fuzz(programs, seed_of(secrets.randbits(40)), 250_000)


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_whole_corpus(programs: Programs, program: str) -> None:
    """What the random frames are made of, each one by itself."""
    place = WHERE[program][0]
    for mtu_bytes in (0, 100, 1500):
        programs.add(place, role="uplink" if place == UPLINK else "port", mtu_bytes=mtu_bytes)
        for frame in corpus():
            programs.check(program, frame, place)
        programs.drain()
        programs.drain_messages()
