# SPDX-License-Identifier: Apache-2.0
"""Quarantines: who is cut, by whom, until when; the latch itself is in the kernel.

A cut belongs to a VM, not to a device number: a guest that restarts itself comes
back on a new tap and finds itself cut for as long as it would have been.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from sentinel import abi, event
from sentinel.config import HoldConfig
from sentinel.decode import Cut, Order, PortSlot, latch_value
from sentinel.effect import Effect, EndCut, KeepCut, Log, Open, Shut
from sentinel.event import Quarantine
from sentinel.inventory import Device
from sentinel.policy import hold_ns, is_due, until_wall_ns
from sentinel.same_vm import is_same_vm
from sentinel.vm import UNKNOWN_VM, VmIdentity

NO_UID: Final = 2**32 - 1
"""(uid_t)-1, which nobody has: of an order that came over MQTT."""


@dataclass(frozen=True, slots=True)
class LatchSeen:
    """A latch that the kernel shut: facts that the shell gathered for `CutBook.see_latch`."""

    slot: PortSlot
    cut: Cut | None
    """What stands beside the latch, if it is of this cut."""
    latched_wall_ns: int
    relapses: int
    jitter_unit: float


class CutBook:
    """The quarantines of now, by ifindex, and those whose port is away."""

    def __init__(self, hold: HoldConfig) -> None:
        self._hold = hold
        self._active: dict[int, Quarantine] = {}
        self._away: list[Quarantine] = []

    def reconfigure(self, hold: HoldConfig) -> None:
        """Hold cuts that begin from now on so long; those of before keep their time."""
        self._hold = hold

    def active(self, ifindex: int) -> Quarantine | None:
        """The quarantine of a port, if it is cut."""
        return self._active.get(ifindex)

    def count(self) -> int:
        """How many ports that are there are cut."""
        return len(self._active)

    def away(self, name: str) -> Quarantine | None:
        """The quarantine of a port that is not there now, by name."""
        return next((one for one in self._away if one.port == name), None)

    def all_away(self) -> list[Quarantine]:
        """Every quarantine whose port is not there now."""
        return list(self._away)

    def remember(self, quarantines: list[Quarantine]) -> None:
        """Take what the journal holds; each waits for its port."""
        self._away = list(quarantines)

    def see_latch(self, device: Device, seen: LatchSeen) -> Iterator[Effect]:
        """Take a shut latch that is not accounted for yet.

        What stands beside the latch says whose cut it is; failing that (another
        version's maps), what the journal remembers of this cut.
        """
        remembered = self._take_away(device, seen.slot.ifindex)
        cut, cause = seen.cut, seen.slot.cause or "order"
        if cut is None and remembered is not None and _is_same_cut(remembered, cause, seen):
            yield from self._take_up(replace(remembered, vm=device.vm), device)
            return
        if remembered is not None and (
            cut is None or remembered.since_wall_ns != cut.since_wall_ns
        ):
            yield EndCut(
                remembered.ifindex, remembered.since_wall_ns, seen.latched_wall_ns, "unseen"
            )
        if cut is not None:
            hold = cut.hold_ns or None
            quarantine = Quarantine(
                port=device.name,
                ifindex=device.ifindex,
                vm=device.vm,
                cause=cause,
                reason=cut.reason,
                uid=cut.uid if cause == "order" and cut.uid != NO_UID else None,
                since_wall_ns=cut.since_wall_ns,
                hold_ns=hold,
                until_wall_ns=until_wall_ns(cut.since_wall_ns, hold),
                relapses=cut.relapses,
            )
            self._active[device.ifindex] = quarantine
            if remembered is None or remembered.since_wall_ns != quarantine.since_wall_ns:
                yield KeepCut(quarantine)
                yield Log(event.quarantine_set(quarantine))
            return
        hold = hold_ns(self._hold, seen.relapses, seen.jitter_unit)
        quarantine = Quarantine(
            port=device.name,
            ifindex=device.ifindex,
            vm=device.vm,
            cause=cause,
            reason=_reason(cause),
            uid=None,
            since_wall_ns=seen.latched_wall_ns,
            hold_ns=hold,
            until_wall_ns=until_wall_ns(seen.latched_wall_ns, hold),
            relapses=seen.relapses,
        )
        yield from self._set(quarantine)

    def _take_up(self, quarantine: Quarantine, device: Device) -> Iterator[Effect]:
        """Go on with a cut whose latch is shut already: nothing happened, nothing is told."""
        again = replace(quarantine, port=device.name, ifindex=device.ifindex)
        self._active[device.ifindex] = again
        yield Shut(again)
        if again.ifindex != quarantine.ifindex:
            yield EndCut(
                quarantine.ifindex, quarantine.since_wall_ns, quarantine.since_wall_ns, "moved"
            )
        yield KeepCut(again)

    def order(
        self, device: Device, hold: int | None, reason: str, uid: int | None, now_ns: int
    ) -> Iterator[Effect]:
        """Cut a port by order; `uid` None: over MQTT.

        One that is cut already stays so, on the order's terms; what a repeated order
        does not say (how long, why) stays as it was ordered.
        """
        before = self._active.get(device.ifindex)
        self._take_away(device, device.ifindex)
        quarantine = _ordered(
            before, device.name, device.ifindex, device.vm, hold, reason, uid, now_ns
        )
        self._active[device.ifindex] = quarantine
        yield Shut(quarantine)
        yield KeepCut(quarantine)
        yield Log(event.quarantine_set(quarantine, changed=before is None, time_ns=now_ns))

    def release(
        self, device: Device, by: str, uid: int | None, reason: str, now_ns: int
    ) -> Iterator[Effect]:
        """Open a port: by "order" or "hold". One that is open stays so, and that is told."""
        quarantine = self._active.pop(device.ifindex, None)
        yield Open(device.ifindex)
        if quarantine is None:
            if by == "order":
                yield Log(
                    event.release_idle(
                        now_ns, device.name, device.ifindex, device.vm, uid=uid, reason=reason
                    )
                )
            return
        yield from self._end(quarantine, by, uid, reason, now_ns)

    def release_away(
        self, name: str, uid: int | None, reason: str, now_ns: int
    ) -> Iterator[Effect]:
        """End by order the quarantine of a port that is not there."""
        quarantine = self.away(name)
        if quarantine is not None:
            self._away.remove(quarantine)
            yield from self._end(quarantine, "order", uid, reason, now_ns)

    def told_offline(self, order: Order, device: Device | None) -> Iterator[Effect]:
        """Take an order that the kernel was told while no daemon listened; only journal it."""
        held = self._active.get(order.ifindex) or self.away(order.name)
        if order.kind == abi.TAP_ORDER_QUARANTINE:
            quarantine = _ordered(
                held,
                order.name,
                order.ifindex,
                UNKNOWN_VM if device is None else device.vm,
                order.hold_ns or None,
                order.reason,
                _uid(order),
                order.at_wall_ns,
            )
            self._forget(held)
            if device is None:
                self._away.append(quarantine)
            else:
                self._active[order.ifindex] = quarantine
            yield KeepCut(quarantine)
            yield Log(
                event.quarantine_set(quarantine, changed=order.changed, time_ns=order.at_wall_ns)
            )
        elif held is not None:
            self._forget(held)
            yield from self._end(held, "order", _uid(order), order.reason, order.at_wall_ns)
        else:
            vm = UNKNOWN_VM if device is None else device.vm
            yield Log(
                event.release_idle(
                    order.at_wall_ns,
                    order.name,
                    order.ifindex,
                    vm,
                    uid=_uid(order),
                    reason=order.reason,
                )
            )

    def opened_elsewhere(self, quarantine: Quarantine, now_ns: int) -> Iterator[Effect]:
        """The latch is open and no order says why: the quarantine is over all the same."""
        self._forget(quarantine)
        why = "its latch was opened by other means than tapsentinel"
        yield from self._end(quarantine, "order", None, why, now_ns)

    def _forget(self, quarantine: Quarantine | None) -> None:
        if quarantine is None:
            return
        if self._active.get(quarantine.ifindex) is quarantine:
            del self._active[quarantine.ifindex]
        elif quarantine in self._away:
            self._away.remove(quarantine)

    def device_gone(self, ifindex: int) -> None:
        """The port went away; its quarantine waits for the VM to come back."""
        quarantine = self._active.pop(ifindex, None)
        if quarantine is not None:
            self._away.append(quarantine)

    def device_known(self, device: Device, now_ns: int, is_shut: bool = False) -> Iterator[Effect]:
        """A port is there, or its VM is known now: cut it again if it was cut.

        One whose latch `is_shut` already is `see_latch`'s: that knows why.
        """
        if device.role != "port" or is_shut:
            return
        quarantine = self._take_away(device, None)
        if quarantine is None:
            return
        active = self._active.get(device.ifindex)
        if active is not None and not _outlasts(quarantine, active):
            yield EndCut(quarantine.ifindex, quarantine.since_wall_ns, now_ns, "again")
            return
        if active is not None:
            # Cut anew before it was known whose port it is: the longer cut holds.
            yield EndCut(active.ifindex, active.since_wall_ns, now_ns, "again")
        if is_due(quarantine, now_ns):
            yield from self._end(quarantine, "hold", None, "", now_ns)
            return
        if quarantine.ifindex != device.ifindex:
            yield EndCut(quarantine.ifindex, quarantine.since_wall_ns, now_ns, "gone")
        again = replace(quarantine, port=device.name, ifindex=device.ifindex, vm=device.vm)
        self._active[device.ifindex] = again
        yield Shut(again)
        yield KeepCut(again)
        yield Log(event.quarantine_set(again, time_ns=now_ns))

    def renamed(self, device: Device) -> Iterator[Effect]:
        """A port's name or VM changed: its quarantine follows."""
        quarantine = self._active.get(device.ifindex)
        if quarantine is not None and (quarantine.port, quarantine.vm) != (device.name, device.vm):
            self._active[device.ifindex] = replace(quarantine, port=device.name, vm=device.vm)
            yield KeepCut(self._active[device.ifindex])

    def due(self, now_ns: int) -> list[int]:
        """The ports whose hold is over."""
        return [ifindex for ifindex, one in self._active.items() if is_due(one, now_ns)]

    def expire_away(self, now_ns: int) -> Iterator[Effect]:
        """End the quarantines that ran out while their port was away."""
        for quarantine in [one for one in self._away if is_due(one, now_ns)]:
            self._away.remove(quarantine)
            yield from self._end(quarantine, "hold", None, "", now_ns)

    def known(
        self,
        device: Device,
        cause: str,
        reason: str,
        relapses: int,
        jitter_unit: float,
        now_ns: int,
    ) -> Iterator[Effect]:
        """Cut a port for what its VM did elsewhere, as if the check had cut it here."""
        self._take_away(device, device.ifindex)
        hold = hold_ns(self._hold, relapses, jitter_unit)
        until_ns = until_wall_ns(now_ns, hold)
        yield from self._set(
            Quarantine(
                device.name, device.ifindex, device.vm, cause, reason, None, now_ns, hold,
                until_ns, relapses,
            )
        )  # fmt: skip

    def _set(self, quarantine: Quarantine) -> Iterator[Effect]:
        self._active[quarantine.ifindex] = quarantine
        yield Shut(quarantine)
        yield KeepCut(quarantine)
        yield Log(event.quarantine_set(quarantine))

    def _end(
        self, quarantine: Quarantine, by: str, uid: int | None, reason: str, now_ns: int
    ) -> Iterator[Effect]:
        yield EndCut(quarantine.ifindex, quarantine.since_wall_ns, now_ns, by)
        yield Log(event.quarantine_released(now_ns, quarantine, by=by, uid=uid, reason=reason))

    def _take_away(self, device: Device, ifindex: int | None) -> Quarantine | None:
        for quarantine in self._away:
            same_device = quarantine.ifindex == ifindex and quarantine.port == device.name
            if same_device or is_same_vm(quarantine, device):
                self._away.remove(quarantine)
                return quarantine
        return None


def _outlasts(one: Quarantine, other: Quarantine) -> bool:
    if other.until_wall_ns is None:
        return False
    return one.until_wall_ns is None or one.until_wall_ns > other.until_wall_ns


def _is_same_cut(quarantine: Quarantine, cause: str, seen: LatchSeen) -> bool:
    """Whether a shut latch is still this cut's: of its cause, and shut before its end."""
    until_ns = quarantine.until_wall_ns
    return quarantine.cause == cause and (until_ns is None or seen.latched_wall_ns < until_ns)


def _ordered(
    before: Quarantine | None,
    port: str,
    ifindex: int,
    vm: VmIdentity,
    hold: int | None,
    reason: str,
    uid: int | None,
    at_ns: int,
) -> Quarantine:
    """What an order makes of a port, cut `before` or not."""
    since_ns = at_ns if before is None else before.since_wall_ns
    until_ns = until_wall_ns(at_ns, hold)
    if before is not None and before.cause == "order" and hold is None:
        until_ns = before.until_wall_ns
    return Quarantine(
        port=port,
        ifindex=ifindex,
        vm=vm,
        cause="order",
        reason=reason or ("" if before is None else before.reason),
        uid=uid,
        since_wall_ns=since_ns,
        # The cut counts from its beginning, whatever the latest order said.
        hold_ns=None if until_ns is None else until_ns - since_ns,
        until_wall_ns=until_ns,
        relapses=0 if before is None else before.relapses,
    )


def _uid(order: Order) -> int | None:
    return None if order.uid == NO_UID else order.uid


def cut_of(quarantine: Quarantine) -> Cut:
    """A quarantine as it stands beside the latch."""
    return Cut(
        latch=latch_value(quarantine.cause),
        ifindex=quarantine.ifindex,
        uid=uid_to_keep(quarantine),
        relapses=quarantine.relapses,
        since_wall_ns=quarantine.since_wall_ns,
        hold_ns=quarantine.hold_ns or 0,
        reason=quarantine.reason,
    )


def uid_to_keep(quarantine: Quarantine) -> int:
    """Who ordered a cut, as a number that a map can hold."""
    if quarantine.uid is None:
        return NO_UID if quarantine.cause == "order" else 0
    return quarantine.uid


def _reason(cause: str) -> str:
    if cause == "order":
        return "ordered, but by whom is not known any more"
    return f"the {cause} check reached its threshold"
