# SPDX-License-Identifier: Apache-2.0
"""How many virtual functions a NIC has: no event tells, so that it is asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

import sentinel.netlink as module
from sentinel.link import LinkFacts
from sentinel.netlink import LinkFollower
from sentinel.netlink_library import NetlinkError
from sentinel.netlink_socket import RawLink
from tests.harness.netlink_messages import attribute, link_message, number_attribute

NEWLINK, DELLINK = 16, 17
IFLA_IFNAME, IFLA_MTU, IFLA_LINKINFO, IFLA_INFO_KIND, IFLA_NUM_VF = 3, 4, 18, 1, 21


def message(
    ifindex: int,
    name: str,
    kind: int = NEWLINK,
    info_kind: str = "",
    mtu: int = 1500,
    more: bytes = b"",
) -> RawLink:
    """A link message as the kernel tells it, as far as it is looked at."""
    values = attribute(IFLA_IFNAME, name.encode() + b"\0") + number_attribute(IFLA_MTU, mtu) + more
    if info_kind:
        values += attribute(IFLA_LINKINFO, attribute(IFLA_INFO_KIND, info_kind.encode() + b"\0"))
    raw = RawLink(link_message(kind, ifindex, values))
    raw.decode()
    return raw


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

    async def link(self, _: str, *, index: int, ext_mask: int) -> Iterator[RawLink]:
        assert ext_mask & module.RTEXT_FILTER_VF
        self.asked.append(index)
        if index not in self.functions:
            raise NetlinkError(19, "No such device")
        more = number_attribute(IFLA_NUM_VF, self.functions[index])
        return iter([message(index, "nic", more=more)])


class Told:
    def __init__(self) -> None:
        self.links: list[LinkFacts] = []
        self.follower = LinkFollower(lambda _: None, self.links.append, lambda _: None)

    def hear(self, *messages: RawLink) -> None:
        """A batch of events, as the follower's task takes it."""
        for each in messages:
            self.follower._tell(each)
        if self.follower._is_nic_changed:
            self.follower._is_nic_changed = False
            asyncio.run(self.follower._tell_virtual_functions())


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    made = Kernel({2: 4})
    monkeypatch.setattr(module, "link_socket", made)
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
    told.hear(*(message(20, "tap0", info_kind="tun", mtu=1400 + n) for n in range(9)))
    assert kernel.asked == []
    assert len(told.links) == 2 + 9
