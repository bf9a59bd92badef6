# SPDX-License-Identifier: Apache-2.0
"""Asks the host which VM a port belongs to: Open vSwitch, libvirt, /proc, the name.

`IdentityResolver` asks them all and merges; `IdentityFollower` asks again when
the answer may have changed.
"""

from __future__ import annotations

from sentinel.identity.follow import IdentityFollower
from sentinel.identity.resolve import IdentityPaths, IdentityResolver

__all__ = ["IdentityFollower", "IdentityPaths", "IdentityResolver"]
