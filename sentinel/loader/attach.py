# SPDX-License-Identifier: Apache-2.0
"""Programs onto devices: tcx where the kernel has it (6.6), else clsact.

Both run in front of what is there and let it run after. A tcx link is pinned; a
clsact filter lives with its qdisc. Neither needs the daemon to be alive.
"""

from __future__ import annotations

import contextlib
import errno
import os
from typing import Final, Protocol

from sentinel.errors import KernelError, PortGoneError
from sentinel.loader import syscall
from sentinel.loader._libbpf import ffi, lib
from sentinel.loader.pins import Pins

SIDES: Final = ("in", "out")
"""Of a device: its frames into the host (tc ingress), and out to it (egress)."""

FILTER_HANDLE: Final = 0x7A5
FILTER_PRIORITIES: Final = (1, 2, 3, 4, 5)
"""The first that is free or ours: lower runs earlier."""

_NO_SUCH_DEVICE: Final = 0x7FFFFFFF
_GONE: Final = frozenset({errno.ENODEV, errno.ENXIO, errno.ENOLINK})


class Attacher(Protocol):
    """One way to put programs on devices."""

    name: str

    def attach(self, ifindex: int, side: str, prog_fd: int) -> bool:
        """Makes this program run; True if ours ran there already and was replaced or kept.

        Raises PortGoneError if there is no such device, KernelError otherwise.
        """

    def detach(self, ifindex: int, side: str) -> None:
        """Takes our program off; one that is not there is no error."""

    def is_attached(self, ifindex: int, side: str) -> bool:
        """Whether a program of ours runs there."""


class TcxAttacher:
    """Pinned tcx links, updated in place."""

    name = "tcx"

    def __init__(self, pins: Pins) -> None:
        self._pins = pins

    def attach(self, ifindex: int, side: str, prog_fd: int) -> bool:
        """See Attacher. An old link to a device that is gone is removed first."""
        path = self._pins.link(ifindex, side)
        pinned_fd = syscall.open_pin_if_there(path)
        if pinned_fd is not None:
            try:
                if self._update(pinned_fd, ifindex, prog_fd):
                    return True
            finally:
                os.close(pinned_fd)
            path.unlink(missing_ok=True)
        link_fd = lib.ts_tcx_link(prog_fd, ifindex, side == "out")
        _check_device(link_fd, f"attach to device {ifindex} ({side}) by tcx", ifindex)
        try:
            syscall.pin(link_fd, path)
        finally:
            os.close(link_fd)
        return False

    def _update(self, link_fd: int, ifindex: int, prog_fd: int) -> bool:
        """Whether the link is alive on that device; it then runs the program."""
        device, prog_id = link_info(link_fd)
        if device != ifindex:
            return False
        if prog_id == syscall.program_id(prog_fd):
            return True
        result = lib.ts_link_update(link_fd, prog_fd)
        if -result in _GONE:
            return False
        syscall.check(result, f"replace the program of device {ifindex}")
        return True

    def detach(self, ifindex: int, side: str) -> None:
        """See Attacher."""
        path = self._pins.link(ifindex, side)
        link_fd = syscall.open_pin_if_there(path)
        if link_fd is None:
            return
        try:
            lib.ts_link_detach(link_fd)
        finally:
            os.close(link_fd)
            path.unlink(missing_ok=True)

    def is_attached(self, ifindex: int, side: str) -> bool:
        """See Attacher."""
        link_fd = syscall.open_pin_if_there(self._pins.link(ifindex, side))
        if link_fd is None:
            return False
        try:
            return link_info(link_fd)[0] == ifindex
        finally:
            os.close(link_fd)


class ClsactAttacher:
    """Direct-action filters on the clsact qdisc, shared with whoever else uses it."""

    name = "clsact"

    def __init__(self, pins: Pins) -> None:
        self._pins = pins

    def attach(self, ifindex: int, side: str, prog_fd: int) -> bool:
        """See Attacher."""
        made = lib.ts_clsact_create(ifindex)
        _check_device(made, f"make a clsact qdisc on device {ifindex}", ifindex)
        mark = self._pins.clsact / str(ifindex)
        mark.mkdir(exist_ok=True)
        if made:
            (mark / "made").mkdir(exist_ok=True)
        ours = find_filter(ifindex, side)
        if ours is not None:
            priority, prog_id = ours
            if prog_id == syscall.program_id(prog_fd):
                return True
            result = lib.ts_clsact_attach(
                ifindex, side == "out", prog_fd, FILTER_HANDLE, priority, 1
            )
            _check_device(result, f"replace the filter of device {ifindex} ({side})", ifindex)
            return True
        result = -errno.EEXIST
        for priority in FILTER_PRIORITIES:
            result = lib.ts_clsact_attach(
                ifindex, side == "out", prog_fd, FILTER_HANDLE, priority, 0
            )
            if result not in (-errno.EEXIST, -errno.EINVAL):
                break
        _check_device(result, f"attach to device {ifindex} ({side}) by clsact", ifindex)
        return False

    def detach(self, ifindex: int, side: str) -> None:
        """See Attacher. The qdisc goes when it was ours and no filter of ours is left."""
        mark = self._pins.clsact / str(ifindex)
        if not mark.exists():
            return
        ours = find_filter(ifindex, side)
        if ours is not None:
            result = lib.ts_clsact_detach(ifindex, side == "out", FILTER_HANDLE, ours[0])
            if -result not in (*_GONE, errno.ENOENT):
                syscall.check(result, f"remove the filter of device {ifindex} ({side})")
        if any(find_filter(ifindex, each) for each in SIDES):
            return
        if (mark / "made").exists():
            if not any(filter_priorities(ifindex, each) for each in SIDES):
                lib.ts_clsact_destroy(ifindex)
            (mark / "made").rmdir()
        mark.rmdir()

    def is_attached(self, ifindex: int, side: str) -> bool:
        """See Attacher."""
        marked = (self._pins.clsact / str(ifindex)).exists()
        return marked and find_filter(ifindex, side) is not None


def find_filter(ifindex: int, side: str) -> tuple[int, int] | None:
    """(priority, program id) of our filter on a device's side."""
    prog_id = ffi.new("uint32_t *")
    for priority in FILTER_PRIORITIES:
        if (
            lib.ts_clsact_query(ifindex, side == "out", FILTER_HANDLE, priority, prog_id) == 0
            and prog_id[0]
        ):
            return priority, int(prog_id[0])
    return None


def filter_priorities(ifindex: int, side: str) -> list[int]:
    """Priorities of all filters on a side of the clsact qdisc, in the order they run."""
    found = ffi.new("uint32_t[]", 64)
    count = lib.ts_filter_priorities(ifindex, side == "out", found, 64)
    return [int(priority) for priority in found[0 : min(count, 64)]] if count > 0 else []


def link_info(link_fd: int) -> tuple[int, int]:
    """(ifindex, program id) of a tcx link; ifindex 0 once its device is gone."""
    ifindex, prog_id = ffi.new("uint32_t *"), ffi.new("uint32_t *")
    syscall.check(lib.ts_link_info(link_fd, ifindex, prog_id), "ask about a link")
    return int(ifindex[0]), int(prog_id[0])


def has_tcx(prog_fd: int) -> bool:
    """Whether this kernel knows tcx: an impossible device is then the complaint."""
    return int(lib.ts_tcx_link(prog_fd, _NO_SUCH_DEVICE, 0)) == -errno.ENODEV


def all_attachers(pins: Pins) -> tuple[Attacher, ...]:
    """Every way there is: an earlier daemon may have taken another than this one."""
    return TcxAttacher(pins), ClsactAttacher(pins)


def detach_everywhere(pins: Pins, ifindex: int) -> None:
    """Takes our programs off a device, whichever way they got there.

    One that is gone took its programs with it: no error.
    """
    for attacher in all_attachers(pins):
        for side in SIDES:
            with contextlib.suppress(KernelError):
                attacher.detach(ifindex, side)


def choose_attacher(wanted: str, pins: Pins, prog_fd: int) -> Attacher:
    """By `kernel.attach`: "auto", "tcx" or "clsact". Raises KernelError for a tcx that is not."""
    if wanted == "clsact":
        return ClsactAttacher(pins)
    if has_tcx(prog_fd):
        return TcxAttacher(pins)
    if wanted == "tcx":
        raise KernelError(
            'this kernel has no tcx (it came with 6.6): set kernel.attach = "auto" or "clsact"'
        )
    return ClsactAttacher(pins)


def _check_device(result: int, what: str, ifindex: int) -> None:
    if -result in _GONE:
        raise PortGoneError(f"device {ifindex} is gone: nothing to {what}", -result)
    syscall.check(result, what)
