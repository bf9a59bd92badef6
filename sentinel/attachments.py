# SPDX-License-Identifier: Apache-2.0
"""Attaches and detaches devices one after the other, beside the event loop.

Attaching by tcx waits for the kernel, some 10 ms a hook; one that is pinned already takes
some 0.1 ms, less than a turn of the thread. Uplinks come first: they stop guests' BPDUs
while their ports still wait.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import time
from collections.abc import Callable
from typing import Final

from sentinel import abi
from sentinel.decode import check_bits
from sentinel.errors import KernelError, PortGoneError
from sentinel.inventory import Device
from sentinel.loader.guard import Guard

MOST_AT_ONCE: Final = 256
LONGEST_AT_ONCE_S: Final = 0.02
"""What comes meanwhile, and goes first, waits no longer than this and one device more."""
RETRY_AFTER_S: Final = (0.2, 1.0, 5.0, 30.0)

_Entry = tuple[int, int, str, Device]
"""Rank, number, what to do, and of which device."""

_log = logging.getLogger(__name__)


def role_number(device: Device) -> int:
    """A device's enum tap_role."""
    return abi.TAP_ROLE_UPLINK if device.role == "uplink" else abi.TAP_ROLE_PORT


class Attachments:
    """Which devices are guarded. The callbacks are called in the event loop."""

    def __init__(
        self,
        guard: Guard,
        on_attached: Callable[[Device, bool], None],
        on_failed: Callable[[Device, str], None],
    ) -> None:
        """`on_attached(device, adopted)`; `on_failed(device, problem)` once per problem."""
        self._guard = guard
        self._on_attached = on_attached
        self._on_failed = on_failed
        self._queue: list[_Entry] = []
        self._number = 0
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._task: asyncio.Task[None] | None = None
        self._wanted: dict[int, Device] = {}
        self._retries: dict[int, int] = {}
        self._leaving: set[int] = set()
        self.attached: set[int] = set()
        self.problems: dict[int, str] = {}
        """What keeps a device from being guarded, by ifindex."""

    def start(self) -> None:
        """Begin to work."""
        self._task = asyncio.create_task(self._run(), name="attachments")

    async def stop(self) -> None:
        """Do nothing more; what is attached stays."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def settled(self) -> None:
        """Returns when there is nothing to do."""
        await self._idle.wait()

    def attach(self, device: Device) -> None:
        """Guard a device soon."""
        self._wanted[device.ifindex] = device
        self._put("attach", device)

    def detach(self, device: Device) -> None:
        """Guard a device no longer."""
        self._wanted.pop(device.ifindex, None)
        self._retries.pop(device.ifindex, None)
        self.problems.pop(device.ifindex, None)
        self.attached.discard(device.ifindex)
        self._leaving.add(device.ifindex)
        self._put("detach", device)

    def change(self, device: Device) -> None:
        """Tell the kernel what changed of a device."""
        if device.ifindex not in self._wanted:
            return
        self._wanted[device.ifindex] = device
        if device.ifindex in self.attached:
            self._guard.set_device(
                device.ifindex,
                role_number(device),
                device.path_mtu_bytes,
                check_bits(device.trusted_checks),
            )

    def _put(self, what: str, device: Device) -> None:
        self._number += 1
        # What goes away goes first, for its ifindex may be another's already.
        rank = 0 if what == "detach" else (1 if device.role == "uplink" else 2)
        heapq.heappush(self._queue, (rank, self._number, what, device))
        self._idle.clear()
        self._wake.set()

    async def _run(self) -> None:
        while True:
            if not self._queue:
                self._idle.set()
                self._wake.clear()
                await self._wake.wait()
                continue
            _, _, what, device = entry = heapq.heappop(self._queue)
            if what == "detach":
                await self._detach(device)
                continue
            entries = [entry]
            while self._queue and self._queue[0][2] == "attach" and len(entries) < MOST_AT_ONCE:
                entries.append(heapq.heappop(self._queue))
            await self._attach(
                {
                    ifindex: entry
                    for entry in entries
                    if (ifindex := entry[3].ifindex) in self._wanted
                    and ifindex not in self.attached
                }
            )

    async def _detach(self, device: Device) -> None:
        try:
            await asyncio.to_thread(self._guard.detach, device.ifindex)
        except KernelError as failed:
            _log.warning("%s: cannot be detached: %s", device.name, failed)
        finally:
            self._leaving.discard(device.ifindex)

    async def _attach(self, entries: dict[int, _Entry]) -> None:
        devices = [self._wanted[ifindex] for ifindex in entries]
        done = await asyncio.to_thread(self._attach_in_turn, devices)
        for device in devices[len(done) :]:
            heapq.heappush(self._queue, entries[device.ifindex])
        for device, result in zip(devices, done, strict=False):
            if isinstance(result, PortGoneError):
                continue  # netlink will say so
            if isinstance(result, KernelError):
                self._fail(device, str(result))
                continue
            wanted = self._wanted.get(device.ifindex)
            if wanted is None or device.ifindex in self._leaving:
                continue  # a detach waits, and maybe an attach of the number's next device
            self._retries.pop(device.ifindex, None)
            self.problems.pop(device.ifindex, None)
            self.attached.add(device.ifindex)
            if wanted != device:
                self.change(wanted)
            self._on_attached(wanted, result)

    def _attach_in_turn(self, devices: list[Device]) -> list[bool | KernelError]:
        """In a thread: for each device whether it was adopted; of the first ones, in time."""
        done: list[bool | KernelError] = []
        until_s = time.monotonic() + LONGEST_AT_ONCE_S
        for device in devices:
            try:
                done.append(
                    self._guard.attach(
                        device.ifindex,
                        role_number(device),
                        device.path_mtu_bytes,
                        check_bits(device.trusted_checks),
                    )
                )
            except KernelError as failed:
                done.append(failed)
            if time.monotonic() >= until_s:
                break
        return done

    def _fail(self, device: Device, problem: str) -> None:
        if self.problems.get(device.ifindex) != problem:
            self.problems[device.ifindex] = problem
            self._on_failed(device, problem)
        tries = self._retries.get(device.ifindex, 0)
        self._retries[device.ifindex] = tries + 1
        after_s = RETRY_AFTER_S[min(tries, len(RETRY_AFTER_S) - 1)]
        asyncio.get_running_loop().call_later(after_s, self._retry, device.ifindex)

    def _retry(self, ifindex: int) -> None:
        device = self._wanted.get(ifindex)
        if device is not None and ifindex not in self.attached:
            self._put("attach", device)
