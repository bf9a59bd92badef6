# SPDX-License-Identifier: Apache-2.0
"""How many virtual functions a NIC has: no event tells, so that it is asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from pyroute2.netlink.exceptions import NetlinkError

import sentinel.netlink as module
from sentinel.link import LinkFacts
from sentinel.netlink import LinkFollower

NEWLINK, DELLINK = 16, 17


class Message(dict[str, Any]):
    """A link message as pyroute2 hands it out, as far as it is looked at."""

    def get_attr(self, name: str) -> Any:
        return self["attrs"].get(name)


def message(ifindex: int, name: str, kind: int = NEWLINK, **attrs: Any) -> Message:
    return Message(
        index=ifindex,
        family=0,
        ifi_type=1,
        flags=0x10001,
        header={"type": kind},
        attrs={"IFLA_IFNAME": name, "IFLA_MTU": 1500, **attrs},
    )


class Kernel:
    """Answers single gets, and counts them."""

    def __init__(self, functions: dict[int, int]) -> None:
        self.functions = functions
        self.asked: list[int] = []

    def __call__(self) -> Kernel:
        return self

    async def __aenter__(self) -> Kernel:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    async def link(self, _: str, *, index: int, ext_mask: int) -> Iterator[Message]:
        assert ext_mask & module.RTEXT_FILTER_VF
        self.asked.append(index)
        if index not in self.functions:
            raise NetlinkError(19, "No such device")
        return iter([message(index, "nic", IFLA_NUM_VF=self.functions[index])])


class Told:
    def __init__(self) -> None:
        self.links: list[LinkFacts] = []
        self.follower = LinkFollower(lambda _: None, self.links.append, lambda _: None)

    def hear(self, *messages: Message) -> None:
        """A batch of events, as the follower's task takes it."""
        for each in messages:
            self.follower._tell(each)
        if self.follower._is_nic_changed:
            self.follower._is_nic_changed = False
            asyncio.run(self.follower._tell_virtual_functions())


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    made = Kernel({2: 4})
    monkeypatch.setattr(module, "AsyncIPRoute", made)
    return made


def test_a_nic_that_comes_is_asked_and_keeps_its_number_through_events(kernel: Kernel) -> None:
    told = Told()
    told.hear(message(2, "eth0"))
    assert [link.virtual_functions for link in told.links] == [0, 4]
    told.hear(message(2, "eth0"))
    assert kernel.asked == [2]
    assert told.links[-1].virtual_functions == 4


def test_another_nic_s_coming_and_going_may_be_a_virtual_function_s(kernel: Kernel) -> None:
    told = Told()
    told.hear(message(2, "eth0"))
    kernel.functions[2] = 5
    told.hear(message(9, "eth0v4"))
    assert (told.links[-1].name, told.links[-1].virtual_functions) == ("eth0", 5)
    kernel.functions[2] = 0
    told.hear(message(9, "eth0v4", DELLINK))
    assert (told.links[-1].name, told.links[-1].virtual_functions) == ("eth0", 0)


def test_a_tap_s_events_ask_nothing(kernel: Kernel) -> None:
    told = Told()
    told.hear(message(2, "eth0"))
    kernel.asked.clear()
    info = Message(attrs={"IFLA_INFO_KIND": "tun"})
    told.hear(*(message(20, "tap0", IFLA_LINKINFO=info, IFLA_MTU=1400 + n) for n in range(9)))
    assert kernel.asked == []
    assert len(told.links) == 2 + 9
