# SPDX-License-Identifier: Apache-2.0
"""One VLAN tag: which protocol, which VLAN."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

TPID_8021Q: Final = 0x8100
TPID_8021AD: Final = 0x88A8
TAG_BYTES: Final = 4


@dataclass(frozen=True, slots=True, order=True)
class Tag:
    """A tag without its priority bits; `tpid` as on the wire, 0x8100 or 0x88a8 (802.1ad)."""

    tpid: int
    vid: int

    @property
    def is_service(self) -> bool:
        """Whether it is a service tag (IEEE 802.1Q-2018 section 9.5, S-TAG)."""
        return self.tpid == TPID_8021AD

    def __str__(self) -> str:
        if self.tpid == TPID_8021Q:
            return str(self.vid)
        return f"{self.vid} ({'802.1ad' if self.is_service else f'{self.tpid:#06x}'})"
