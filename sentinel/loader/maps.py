# SPDX-License-Identifier: Apache-2.0
"""The pinned maps as Python reads and writes them: slots, latches, counters, cuts.

Works on the pins alone: the daemon and a command without a daemon use it alike.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sentinel import abi
from sentinel.decode import (
    COUNTER_WORDS,
    Counters,
    Cut,
    KernelConfig,
    Order,
    PortSlot,
    Talk,
    decode_counters,
    decode_cut,
    decode_order,
    decode_port,
    decode_ports,
    decode_talk,
)
from sentinel.decode_pairs import rest_keys
from sentinel.errors import AbiError, KernelError, NotArmedError
from sentinel.loader import syscall
from sentinel.loader.pins import Pins

MAP_NAMES = (
    "tap_ports", "tap_strays", "tap_counts", "tap_config", "tap_state",
    "tap_windows", "tap_gates", "tap_ring", "tap_walks", "tap_cuts", "tap_orders",
    "tap_messages", "tap_talks", "tap_exchanges", "tap_strangers", "tap_drafts",
    "tap_pairs", "tap_pair_rooms", "tap_losses", "tap_loss_state",
)  # fmt: skip

FEW_DEVICES = 64
"""Up to so many are looked up one by one."""
SLOTS_AT_ONCE = 64
"""Whose counters are read in one go."""
CLOCK_MONOTONIC_COARSE = 6  # linux/time.h; not in Python's time module
_FIRST = (0).to_bytes(4, "little")
_NO_CUT = bytes(abi.TAP_CUT.size)
_ROOM_BYTES = 8  # elements of an array map begin at multiples of 8


def _key(number: int) -> bytes:
    return number.to_bytes(4, "little")


@dataclass(frozen=True, slots=True)
class GuardState:
    """What the kernel keeps of all ports together."""

    quarantined: int
    fuse_refusals: int
    build: int
    pairs_lost: int = 0
    """Frames whose tags and size found no row."""


class PinnedMaps:
    """Every map of one guard. `close` gives the descriptors back; the pins stay."""

    def __init__(self, pins: Pins) -> None:
        """Opens the pins of this version. Raises NotArmedError, AbiError, KernelError."""
        self._fds: dict[str, int] = {}
        try:
            for name in MAP_NAMES:
                self._fds[name] = syscall.open_pin(pins.map(name))
            self._ports = syscall.MappedMap(
                self._fds["tap_ports"], abi.TAP_MAX_PORTS * abi.TAP_PORT.size, "tap_ports"
            )
            self._state = syscall.MappedMap(self._fds["tap_state"], abi.TAP_STATE.size, "tap_state")
            self._rooms = syscall.MappedMap(
                self._fds["tap_pair_rooms"], abi.TAP_MAX_PORTS * _ROOM_BYTES, "tap_pair_rooms"
            )
        except KernelError as failed:
            self._close_fds()
            if failed.errno != errno.ENOENT:
                raise
            others = pins.other_versions()
            if others:
                raise AbiError(
                    f"the guard pinned in {pins.root} speaks version {others[0].name[1:]} of the "
                    f"contract, this program {abi.TAP_ABI_VERSION}: use its own version, or start "
                    "this version's daemon, which takes it over"
                ) from failed
            raise NotArmedError(
                f"no guard is pinned in {pins.root}: start the daemon, "
                "or check paths.bpffs_dir (run as root?)"
            ) from failed

    def close(self) -> None:
        """Closes descriptors and mappings."""
        self._ports.close()
        self._state.close()
        self._rooms.close()
        self._close_fds()

    def _close_fds(self) -> None:
        for fd in self._fds.values():
            os.close(fd)
        self._fds.clear()

    def fd(self, name: str) -> int:
        """A map's descriptor; it stays this object's."""
        return self._fds[name]

    def slots(self) -> list[PortSlot]:
        """The slots in use."""
        return decode_ports(self._ports.snapshot())

    def slots_of(self, ifindexes: Collection[int]) -> dict[int, PortSlot]:
        """Slots of those devices that have one, by ifindex."""
        if len(ifindexes) > FEW_DEVICES:
            all_of_them = {slot.ifindex: slot for slot in self.slots()}
            return {one: all_of_them[one] for one in ifindexes if one in all_of_them}
        return {one: slot for one in ifindexes if (slot := self.find(one)) is not None}

    def find(self, ifindex: int) -> PortSlot | None:
        """A device's slot."""
        number = self._number_of(ifindex)
        return None if number is None else self._read(number)

    def _number_of(self, ifindex: int) -> int | None:
        home = ifindex % abi.TAP_MAX_PORTS
        if self._field(home, abi.TAP_PORT__IFINDEX) == ifindex:
            return home
        try:
            stray = syscall.map_lookup(self._fds["tap_strays"], _key(ifindex), 4, "tap_strays")
        except KernelError as missing:
            if missing.errno == errno.ENOENT:
                return None
            raise
        return int.from_bytes(stray, "little")

    def change(self, ifindex: int, role: int, mtu_bytes: int, trusted_checks: int) -> None:
        """What programs are told of a device that has a slot; else nothing happens."""
        number = self._number_of(ifindex)
        if number is not None:
            self._store_facts(number, role, mtu_bytes, trusted_checks)

    def _store_facts(self, slot: int, role: int, mtu_bytes: int, trusted_checks: int) -> None:
        self._store(slot, abi.TAP_PORT__ROLE, role)
        self._store(slot, abi.TAP_PORT__MTU_BYTES, mtu_bytes)
        self._store(slot, abi.TAP_PORT__TRUSTED_CHECKS, trusted_checks)

    def claim(self, ifindex: int, role: int, mtu_bytes: int, trusted_checks: int) -> PortSlot:
        """A slot for a device, with counters and clocks at zero unless it had one already.

        Raises KernelError when all TAP_MAX_PORTS slots are taken.
        """
        found = self.find(ifindex)
        if found is None:
            slot = self._free_slot(ifindex)
            self._reset(slot)
            self.forget_pairs(slot, ifindex)
            if slot != ifindex % abi.TAP_MAX_PORTS:
                syscall.map_update(self._fds["tap_strays"], _key(ifindex), _key(slot), "tap_strays")
        else:
            slot = found.slot
        self._store_facts(slot, role, mtu_bytes, trusted_checks)
        # Last: from here on programs find the slot.
        self._store(slot, abi.TAP_PORT__IFINDEX, ifindex)
        return self._read(slot)

    def release_slot(self, ifindex: int) -> None:
        """Frees a device's slot; its latch goes with it."""
        found = self.find(ifindex)
        if found is None:
            return
        self.open_latch(found.slot)
        self._store(found.slot, abi.TAP_PORT__IFINDEX, 0)
        self._store(found.slot, abi.TAP_PORT__ROLE, abi.TAP_ROLE_FREE)
        syscall.map_delete(self._fds["tap_strays"], _key(ifindex), "tap_strays")
        self.write_cut(found.slot, None)
        self.forget_pairs(found.slot, ifindex)

    def shut_latch(self, slot: int, latch: int, latched_at_ns: int | None = None) -> bool:
        """Shuts a port; False if it was shut already, for whatever cause.

        `latched_at_ns` (CLOCK_MONOTONIC) is now, unless it was shut elsewhere before.
        """
        at = slot * abi.TAP_PORT.size
        before = self._ports.swap_u32(at + abi.TAP_PORT__LATCH, abi.TAP_LATCH_OPEN, latch)
        if before != abi.TAP_LATCH_OPEN:
            return False
        since_ns = time.monotonic_ns() if latched_at_ns is None else latched_at_ns
        self._ports.store_u64(at + abi.TAP_PORT__LATCHED_AT_NS, since_ns)
        self._state.add_u32(abi.TAP_STATE__QUARANTINED, 1)
        return True

    def change_latch(self, slot: int, latch: int) -> None:
        """Gives a shut port another cause; an open one stays open."""
        at = slot * abi.TAP_PORT.size + abi.TAP_PORT__LATCH
        before = self._ports.load_u32(at)
        if before != abi.TAP_LATCH_OPEN:
            self._ports.swap_u32(at, before, latch)

    def open_latch(self, slot: int) -> bool:
        """Opens a port; False if it was open."""
        at = slot * abi.TAP_PORT.size + abi.TAP_PORT__LATCH
        before = self._ports.load_u32(at)
        if before == abi.TAP_LATCH_OPEN:
            return False
        if self._ports.swap_u32(at, before, abi.TAP_LATCH_OPEN) != before:
            return False
        self._state.add_u32(abi.TAP_STATE__QUARANTINED, -1)
        return True

    def recount(self) -> int:
        """Sets the number of shut ports to what the latches say; returns it."""
        shut = sum(1 for slot in self.slots() if slot.latch != abi.TAP_LATCH_OPEN)
        if self._state.load_u32(abi.TAP_STATE__QUARANTINED) != shut:
            self._state.store_u32(abi.TAP_STATE__QUARANTINED, shut)
        return shut

    def state(self) -> GuardState:
        """The guard's totals."""
        return GuardState(
            self._state.load_u32(abi.TAP_STATE__QUARANTINED),
            self._state.load_u64(abi.TAP_STATE__FUSE_REFUSALS),
            self._state.load_u64(abi.TAP_STATE__BUILD),
            self._state.load_u64(abi.TAP_STATE__PAIRS_LOST),
        )

    def mark_build(self, build: int) -> None:
        """Says which programs run on these maps."""
        self._state.store_u32(abi.TAP_STATE__ABI, abi.TAP_ABI_VERSION)
        self._state.store_u64(abi.TAP_STATE__BUILD, build)

    def counters(self, slots: Sequence[int]) -> list[tuple[Counters, Counters]]:
        """For each slot (from the device, to the device)."""
        each: list[Counters] = []
        # Some at a time: as plain numbers they take more memory than as counters.
        for start in range(0, len(slots), SLOTS_AT_ONCE):
            keys = [
                slot * abi.TAP_DIRECTIONS + direction
                for slot in slots[start : start + SLOTS_AT_ONCE]
                for direction in (abi.TAP_IN, abi.TAP_OUT)
            ]
            sums = syscall.percpu_sums(self._fds["tap_counts"], keys, COUNTER_WORDS, "tap_counts")
            each += [decode_counters(words) for words in sums]
        return list(zip(each[::2], each[1::2], strict=True))

    def talk(self, slot: int) -> Talk:
        """What is kept about DHCP of a slot's device; `find` has when it last was heard."""
        return decode_talk(
            syscall.map_lookup(self._fds["tap_talks"], _key(slot), abi.TAP_TALK.size, "tap_talks")
        )

    def write_config(self, config: KernelConfig) -> None:
        """Tells the programs what to do; holds from the next frame on."""
        # The coarse clock advances with every jiffy.
        tick_ns = round(time.clock_getres(CLOCK_MONOTONIC_COARSE) * 1e9)
        syscall.map_update(self._fds["tap_config"], _FIRST, config.encode(tick_ns), "tap_config")

    def cut(self, slot: int) -> Cut | None:
        """What is written of a port's cut, if that is the cut of now."""
        cut = decode_cut(
            syscall.map_lookup(self._fds["tap_cuts"], _key(slot), abi.TAP_CUT.size, "tap_cuts")
        )
        port = self._read(slot)
        current = cut.latch == port.latch and cut.ifindex == port.ifindex
        return cut if current and cut.latch != abi.TAP_LATCH_OPEN else None

    def write_cut(self, slot: int, cut: Cut | None) -> None:
        """Writes who cut a port and for how long; None: nobody."""
        value = _NO_CUT if cut is None else cut.encode()
        syscall.map_update(self._fds["tap_cuts"], _key(slot), value, "tap_cuts")

    def pair_rooms(self) -> Sequence[int]:
        """How many rows of tap_pairs each slot has, but for those of the rest."""
        return memoryview(self._rooms.snapshot()).cast("I")[::2]

    def add_pair_room(self, slot: int, difference: int) -> None:
        """Says how many rows of a slot's came or went."""
        self._rooms.add_u32(slot * _ROOM_BYTES, difference)

    def correct_pair_room(self, slot: int, expected: int, rows: int) -> None:
        """Sets how many rows a slot has, unless that is not `expected` any more."""
        if expected != rows:
            self._rooms.swap_u32(slot * _ROOM_BYTES, expected, rows)

    def pair_keys(self, ifindex: int | None = None) -> set[bytes]:
        """The keys of the rows of tap_pairs: a device's, or all."""
        size = abi.TAP_PAIR_KEY.size
        # Twice over: while rows come and go, a key may be listed twice.
        keys = syscall.map_keys(self._fds["tap_pairs"], size, 2 * abi.TAP_MAX_PAIRS, "tap_pairs")
        devices = memoryview(keys).cast("I")[:: size // 4].tolist()
        return {
            keys[row * size : (row + 1) * size]
            for row, device in enumerate(devices)
            if ifindex in (None, device)
        }

    def forget_pairs(self, slot: int, ifindex: int) -> None:
        """Removes a device's rows of tap_pairs. Where the slot has none, that is cheap."""
        keys = set(rest_keys(ifindex))
        if self._rooms.load_u32(slot * _ROOM_BYTES):
            keys |= self.pair_keys(ifindex)
        for key in keys:
            syscall.map_delete(self._fds["tap_pairs"], key, "tap_pairs")
        self._rooms.store_u32(slot * _ROOM_BYTES, 0)

    def push_order(self, order: Order) -> None:
        """Keeps an order for the next daemon. Raises KernelError (E2BIG) when full."""
        syscall.map_update(self._fds["tap_orders"], None, order.encode(), "tap_orders")

    def oldest_order(self) -> Order | None:
        """The oldest kept order, left there; None if there is none."""
        value = syscall.queue_peek(self._fds["tap_orders"], abi.TAP_ORDER.size, "tap_orders")
        return None if value is None else decode_order(value)

    def pop_order(self) -> Order | None:
        """The oldest kept order, removed; None if there is none."""
        value = syscall.queue_pop(self._fds["tap_orders"], abi.TAP_ORDER.size, "tap_orders")
        return None if value is None else decode_order(value)

    def _field(self, slot: int, offset: int) -> int:
        return self._ports.load_u32(slot * abi.TAP_PORT.size + offset)

    def _store(self, slot: int, offset: int, value: int) -> None:
        self._ports.store_u32(slot * abi.TAP_PORT.size + offset, value)

    def _read(self, slot: int) -> PortSlot:
        value = syscall.map_lookup(
            self._fds["tap_ports"], _key(slot), abi.TAP_PORT.size, "tap_ports"
        )
        return decode_port(slot, value)

    def _free_slot(self, ifindex: int) -> int:
        home = ifindex % abi.TAP_MAX_PORTS
        for step in range(abi.TAP_MAX_PORTS):
            slot = (home + step) % abi.TAP_MAX_PORTS
            if self._field(slot, abi.TAP_PORT__IFINDEX) == 0:
                return slot
        raise KernelError(
            f"all {abi.TAP_MAX_PORTS} slots are taken: device {ifindex} is not watched; "
            "narrow ports.include",
            errno.ENOSPC,
        )

    def _reset(self, slot: int) -> None:
        for direction in (abi.TAP_IN, abi.TAP_OUT):
            syscall.percpu_clear(
                self._fds["tap_counts"],
                slot * abi.TAP_DIRECTIONS + direction,
                COUNTER_WORDS,
                "tap_counts",
            )
        for check in range(abi.TAP_CHECKS):
            syscall.map_update(
                self._fds["tap_windows"],
                _key(slot * abi.TAP_CHECKS + check),
                bytes(abi.TAP_WINDOW.size),
                "tap_windows",
            )
        syscall.map_update(
            self._fds["tap_gates"], _key(slot), bytes(abi.TAP_GATE.size), "tap_gates"
        )
        syscall.map_update(
            self._fds["tap_talks"], _key(slot), bytes(abi.TAP_TALK.size), "tap_talks"
        )
        self.write_cut(slot, None)
        for field in (abi.TAP_PORT__SEEN_NS, abi.TAP_PORT__SEEN_TICKS):
            for direction in (abi.TAP_IN, abi.TAP_OUT):
                self._ports.store_u64(slot * abi.TAP_PORT.size + field + 8 * direction, 0)
        self._store(slot, abi.TAP_PORT__LATCH, abi.TAP_LATCH_OPEN)
