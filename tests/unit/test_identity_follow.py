# SPDX-License-Identifier: Apache-2.0
"""When a port's identity is asked for again, and when it is told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from sentinel.identity import IdentityFollower, IdentityPaths, IdentityResolver
from sentinel.vm import UNKNOWN_VM, VmIdentity

VM = VmIdentity("6c1f5c1e-93a3-4d09-a1a8-5be2a1c7d0f2", "i-1", "libvirt")


class Scripted(IdentityResolver):
    """Answers from a table, and keeps what was asked."""

    def __init__(self, elsewhere: Path) -> None:
        super().__init__(IdentityPaths(elsewhere, elsewhere, elsewhere))
        self.answers: dict[str, VmIdentity] = {}
        self.asked: list[list[str]] = []

    async def resolve(self, names: Sequence[str]) -> dict[str, VmIdentity]:
        if names:
            self.asked.append(list(names))
        return {name: self.answers.get(name, UNKNOWN_VM) for name in names}


async def until(predicate: Callable[[], object], what: str) -> None:
    for _ in range(5000):
        if predicate():
            return
        await asyncio.sleep(0.002)
    raise TimeoutError(f"waited 10 s for {what}")


def test_asked_again_after_a_while_and_told_when_it_is_another(tmp_path: Path) -> None:
    async def story() -> None:
        told: list[tuple[str, VmIdentity]] = []
        resolver = Scripted(tmp_path)
        follower = IdentityFollower(
            resolver,
            lambda name, vm: told.append((name, vm)),
            ask_after_s=(0.0, 0.03, 0.06),
            ask_every_s=0.05,
        )
        follower.follow(["tap0", "tap1"])
        await follower.start()
        await until(lambda: len(resolver.asked) >= 2, "a second question")
        assert resolver.asked[0] == ["tap0", "tap1"]
        assert told == [("tap0", UNKNOWN_VM), ("tap1", UNKNOWN_VM)]
        resolver.answers["tap1"] = VM
        await until(lambda: len(told) == 3, "the VM that is known by now")
        assert told[2] == ("tap1", VM)
        # Now and then for ever, however long it is known.
        resolver.answers["tap1"] = UNKNOWN_VM
        await until(lambda: len(told) == 4, "a VM that is another's by now")
        follower.forget("tap1")
        count = len(resolver.asked)
        await until(lambda: len(resolver.asked) >= count + 2, "two more questions")
        assert resolver.asked[-1] == ["tap0"]
        follower.follow(["tap1"])
        await until(lambda: len(told) == 5, "tap1 told anew")
        await follower.stop()
        await resolver.close()

    asyncio.run(story())


def test_a_hint_is_a_question_at_once_but_only_for_what_is_followed(tmp_path: Path) -> None:
    async def story() -> None:
        told: list[tuple[str, VmIdentity]] = []
        resolver = Scripted(tmp_path)
        follower = IdentityFollower(
            resolver,
            lambda name, vm: told.append((name, vm)),
            ask_after_s=(0.0,),
            ask_every_s=3600,
        )
        await follower.start()
        follower.follow(["tap0"])
        await until(lambda: told, "a first answer")
        resolver.answers["tap0"] = VM
        hint = resolver.on_hint
        assert hint is not None
        hint({"tap0", "stranger"})
        await until(lambda: len(told) == 2, "the hinted one")
        assert told[1] == ("tap0", VM)
        assert resolver.asked == [["tap0"], ["tap0"]]
        await follower.stop()
        await follower.stop()
        assert resolver.on_hint is None
        await resolver.close()

    asyncio.run(story())


def test_a_callback_that_fails_is_not_swallowed(tmp_path: Path) -> None:
    async def story() -> None:
        def broken(name: str, _: VmIdentity) -> None:
            raise LookupError(name)

        resolver = Scripted(tmp_path)
        follower = IdentityFollower(resolver, broken)
        await follower.start()
        follower.follow(["tap0"])
        with pytest.raises(LookupError, match="tap0"):
            await asyncio.wait_for(follower.wait(), 10)
        await follower.stop()
        await resolver.close()

    asyncio.run(story())
