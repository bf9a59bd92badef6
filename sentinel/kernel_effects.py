# SPDX-License-Identifier: Apache-2.0
"""Carries out what the engine wants of the kernel, and tells the log what is loud."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Final

from sentinel import event
from sentinel.cuts import cut_of
from sentinel.effect import Effect, Log, Open, Shut
from sentinel.loader.maps import PinnedMaps
from sentinel.terminal import harmless

LOUD: Final = frozenset(
    {
        event.Kind.GUARD_FAILED,
        event.Kind.QUARANTINE_SET,
        event.Kind.QUARANTINE_RELEASED,
        event.Kind.QUARANTINE_REFUSED,
        event.Kind.ORDER_REFUSED,
        event.Kind.NOTICE_MATCHED,
        event.Kind.NOTICE_REFUSED,
    }
)
"""Events that the log tells too; they are bounded by nature."""

_log = logging.getLogger("tapsentinel")


def apply_to_kernel(maps: PinnedMaps, effects: Iterable[Effect]) -> None:
    """Latches and what stands beside them, in order; nothing of the journal."""
    for effect in effects:
        match effect:
            case Shut(quarantine=quarantine):
                cut = cut_of(quarantine)
                slot = maps.find(quarantine.ifindex)
                if slot is None:
                    continue
                maps.write_cut(slot.slot, cut)
                if not maps.shut_latch(slot.slot, cut.latch):
                    maps.change_latch(slot.slot, cut.latch)
            case Open(ifindex=ifindex):
                slot = maps.find(ifindex)
                if slot is not None:
                    maps.open_latch(slot.slot)
                    maps.write_cut(slot.slot, None)
            case Log(event=one) if one.kind in LOUD:
                words = one.body.get("message") or one.body.get("problem") or one.kind
                _log.warning(
                    "%s: %s",
                    harmless(one.port or "host"),
                    harmless(str(words)),
                    extra={"fields": _fields(one)},
                )


def _fields(one: event.Event) -> dict[str, str]:
    """What the line of an event can be searched by (journald)."""
    vm = one.vm
    found = {
        "TYPE": one.kind,
        "PORT": one.port,
        "VM_NAME": vm.name if vm else None,
        "VM_UUID": vm.uuid if vm else None,
        "CAUSE": one.body.get("cause"),
    }
    return {f"TAPSENTINEL_{key}": value for key, value in found.items() if isinstance(value, str)}
