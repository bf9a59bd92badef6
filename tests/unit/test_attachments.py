# SPDX-License-Identifier: Apache-2.0
"""Which devices are attached in one go, and what one of them cannot keep from the others."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any, cast

from sentinel import attachments as module
from sentinel.attachments import Attachments
from sentinel.errors import KernelError, PortGoneError
from sentinel.inventory import Device
from sentinel.loader.guard import Guard
from tests.harness.cut_facts import device

MANY = 600


class Hooks:
    """What a guard would do, in order; a hook takes `each_s`."""

    def __init__(self, each_s: float = 0.0, **fail: KernelError) -> None:
        self.each_s = each_s
        self.fail = fail
        self.done: list[tuple[str, int]] = []
        self.began = threading.Event()

    def attach(self, ifindex: int, *_: Any) -> bool:
        self.began.set()
        time.sleep(self.each_s)
        self.done.append(("attach", ifindex))
        if problem := self.fail.get(f"tap{ifindex}"):
            raise problem
        return True

    def detach(self, ifindex: int) -> None:
        self.done.append(("detach", ifindex))


class Told:
    def __init__(self, hooks: Hooks) -> None:
        self.attached: list[int] = []
        self.failed: list[tuple[int, str]] = []
        self.attachments = Attachments(
            cast(Guard, hooks),
            lambda one, _: self.attached.append(one.ifindex),
            lambda one, problem: self.failed.append((one.ifindex, problem)),
        )


def tap(ifindex: int) -> Device:
    return device(ifindex, f"tap{ifindex}")


def test_all_are_attached_and_one_that_fails_keeps_none_back() -> None:
    async def play() -> None:
        hooks = Hooks(tap2=KernelError("no room", 12), tap3=PortGoneError("gone", 19))
        told = Told(hooks)
        for ifindex in range(1, MANY + 1):
            told.attachments.attach(tap(ifindex))
        told.attachments.start()
        await told.attachments.settled()
        await told.attachments.stop()
        assert told.attached == [1, *range(4, MANY + 1)]
        assert told.failed == [(2, "no room")]
        # After these it may have been tried again.
        assert hooks.done[:MANY] == [("attach", ifindex) for ifindex in range(1, MANY + 1)]

    asyncio.run(play())


def test_what_goes_away_waits_no_longer_than_a_batch() -> None:
    async def play() -> None:
        hooks = Hooks(each_s=module.LONGEST_AT_ONCE_S / 4)
        told = Told(hooks)
        for ifindex in range(1, 41):
            told.attachments.attach(tap(ifindex))
        told.attachments.start()
        await asyncio.to_thread(hooks.began.wait, 10)
        so_far = len(hooks.done)
        told.attachments.detach(tap(40))
        told.attachments.detach(tap(1))
        await told.attachments.settled()
        await told.attachments.stop()
        before = hooks.done.index(("detach", 40))
        # Those of the batch that was under way, and one more.
        assert before <= so_far + 6
        assert hooks.done[before + 1] == ("detach", 1)
        assert ("attach", 40) not in hooks.done
        assert told.attachments.attached == set(range(2, 40))

    asyncio.run(play())
