# SPDX-License-Identifier: Apache-2.0
"""Asks the host which VM a port belongs to: Open vSwitch, libvirt, /proc, the name.

`IdentityResolver` asks them all and merges; `IdentityFollower` asks again when
the answer may have changed. `SourceWatch` tells when they know of other switches, or of
other ports that no tap shows.
"""

from __future__ import annotations

from sentinel.identity.follow import IdentityFollower
from sentinel.identity.resolve import IdentityPaths, IdentityResolver
from sentinel.identity.watch import SourceWatch

__all__ = ["IdentityFollower", "IdentityPaths", "IdentityResolver", "SourceWatch"]
