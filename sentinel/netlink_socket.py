# SPDX-License-Identifier: Apache-2.0
"""rtnetlink by pyroute2's sockets, whose messages of links are left as they lie.

pyroute2 makes an object of each attribute, some hundred a link, of which we look at
ten. Its sockets take another class for a kind of message: ours reads the header, which
pyroute2 itself goes by, and keeps the rest for sentinel/netlink_facts.py.
"""

from __future__ import annotations

from typing import Any, Final

from sentinel.netlink_facts import LinkMessage
from sentinel.netlink_library import RTM_DELLINK, RTM_NEWLINK, AsyncIPRoute, nlmsg

_HEADER_BYTES: Final = 16
"""struct nlmsghdr."""


class RawLink(nlmsg):  # type: ignore[misc]
    """An RTM_NEWLINK or RTM_DELLINK, its attributes unread.

    Decoding one raises nothing, whatever its length says: what a message's decode()
    raises, pyroute2 takes for the end of all that were asked for.
    """

    def read(self) -> LinkMessage:
        """What it says. Raises ValueError for lengths that cannot be."""
        end = self.offset + self["header"]["length"]
        if end > len(self.data):
            raise ValueError(f"a message that ends {end - len(self.data)} bytes after its datagram")
        body = memoryview(self.data)[self.offset + _HEADER_BYTES : end]
        return LinkMessage(self["header"]["type"], body)


def link_socket(**options: Any) -> AsyncIPRoute:
    """An AsyncIPRoute with these options, whose messages of links are RawLink."""
    made = AsyncIPRoute(**options)
    made.marshal.msg_map |= dict.fromkeys((RTM_NEWLINK, RTM_DELLINK), RawLink)
    return made
