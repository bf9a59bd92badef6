# SPDX-License-Identifier: Apache-2.0
"""A real tap with the real programs attached, and the model beside it."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Collection

from sentinel.decode import check_bits
from sentinel.loader.guard import Guard
from sentinel.loader.pair_rows import PairRows
from tests.harness.closing import Closing
from tests.harness.compiled import COMPILED
from tests.harness.model import Counts, Model, ModelPort, flat
from tests.harness.model_frame import reaches_tc
from tests.harness.model_pairs import table
from tests.harness.namespaces import Namespace
from tests.harness.programs import (
    ROLES,
    Setting,
    config,
    difference,
    loader_under_test,
    objects_under_test,
    own_pins,
    remove_pins,
)
from tests.harness.taps import VNET_HDR, Tap
from tests.harness.waiting import wait_until


class GuardedTap(Closing):
    """Context manager: a namespace of its own, one tap in it, no bridge, no daemon."""

    def __init__(
        self,
        *,
        hook: str = "auto",
        mtu_bytes: int = 0,
        trusted: Collection[str] = (),
        vnet_hdr: bool = False,
        **checks: Setting,
    ) -> None:
        self.root = own_pins()
        self.netns = Namespace("counts")
        self.guard = Guard(self.root, hook, objects_under_test(), loader_under_test(), COMPILED)
        self.tap: Tap | None = None
        self.written = 0
        self.refused = 0
        try:
            self.tap = Tap("tap0", self.netns, vnet_hdr=vnet_hdr)
            self.tap.up()
            self.ifindex = self.netns_ifindex("tap0")
            self.guard.arm(config(checks))
            self.model = Model(config(checks))
            self._mtu_bytes, self._trusted = mtu_bytes, frozenset(trusted)
            self.attach(self.ifindex)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Unplug, unpin, remove; may be called again."""
        if self.tap is not None:
            self.tap.close()
            self.tap = None
        self.guard.close()
        remove_pins(self.root)
        self.netns.close()

    def netns_ifindex(self, name: str) -> int:
        """The ifindex of a device in the namespace."""
        with self.netns.enter():
            return socket.if_nametoindex(name)

    def attach(self, ifindex: int, role: str = "port") -> None:
        """Guard a device of the namespace, or guard it afresh: counters at zero."""
        self.detach(ifindex)
        with self.netns.enter():
            self.guard.attach(ifindex, ROLES[role], self._mtu_bytes, check_bits(self._trusted))
        self.model.add(ModelPort(ifindex, role, self._mtu_bytes, self._trusted))

    def detach(self, ifindex: int) -> None:
        """Guard a device no longer; one that is not guarded is no error."""
        with self.netns.enter():
            self.guard.detach(ifindex)
        self.model.remove(ifindex)
        if ifindex == self.ifindex:
            self.written = self.refused = 0

    def write(self, frame: bytes, header: bytes = b"", *, segment_bytes: int = 0) -> bool:
        """Send a frame from the guest; False if the tap itself refuses or drops it.

        `header` is a virtio_net_hdr, where the tap has one and a plain one will not do.
        """
        if self.tap is None:
            raise ValueError("the tap is closed")
        if self.tap.vnet_hdr and not header:
            header = VNET_HDR.pack(0, 0, 0, 0, 0, 0)
        try:
            os.write(self.tap.fd, header + frame)
        except OSError as refused:
            if len(frame) >= 14 and refused.errno != errno.EINVAL:
                raise
            self.refused += 1
            return False
        if not reaches_tc(frame):
            self.refused += 1
            return False
        self.model.frame(
            "tap_from_guest", self.ifindex, frame, segment_bytes=segment_bytes, untagged=True
        )
        self.written += 1
        return True

    def counts(self, ifindex: int | None = None) -> tuple[Counts, Counts]:
        """(in, out) of a device, the tap unless another is named."""
        found = self.guard.maps.find(self.ifindex if ifindex is None else ifindex)
        if found is None:
            raise LookupError("the device has no slot")
        ((inward, outward),) = self.guard.maps.counters([found.slot])
        return flat(inward), flat(outward)

    def settled(self) -> Counts:
        """What came from the guest, once every frame that was written has been seen."""
        wait_until(
            lambda: self.counts()[0]["frames"] >= self.written, 5, f"{self.written} frames counted"
        )
        return self.counts()[0]

    def assert_model(self) -> None:
        """The tap's counters are the model's, and its rows of tags and sizes."""
        found, expected = self.settled(), +self.model.ports[self.ifindex].inward
        assert found == expected, difference(found, expected)
        self.assert_pairs(self.ifindex)

    def assert_pairs(self, ifindex: int) -> None:
        """The rows of tags and sizes of a device are the model's."""
        found = table(PairRows(self.guard.maps).read(), ifindex)
        assert found == self.model.ports[ifindex].pairs.rows

    @property
    def cause(self) -> str | None:
        """What shut the tap, or None."""
        found = self.guard.maps.find(self.ifindex)
        return found.cause if found else None
