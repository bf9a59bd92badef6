# SPDX-License-Identifier: Apache-2.0
"""A path as `show --json` tells it, with what was counted at each step. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sentinel.decode import Counters
from sentinel.link import SWITCH_KINDS, LinkCounters
from sentinel.path.step import Path, Step

_WAYS: Final = ("to_wire", "from_wire")


def path_document(
    path: Path,
    bridge: str | None,
    guarded: Mapping[int, tuple[Counters, Counters]],
    links: Mapping[int, LinkCounters],
) -> dict[str, Any]:
    """The path with its tree.

    `guarded` are our own counters by ifindex, of ports and uplinks, as the kernel
    orders them: what came in by the device, then what left by it; `links` the
    kernel's, of the devices in between.
    """
    return {
        "mtu_bytes": path.mtu_bytes,
        "carries_bytes": path.carries_bytes,
        "narrowest": path.narrowest.name,
        "bridge": bridge,
        "tree": _step(path.port, None, guarded, links),
    }


def _step(
    step: Step,
    above: Step | None,
    guarded: Mapping[int, tuple[Counters, Counters]],
    links: Mapping[int, LinkCounters],
) -> dict[str, Any]:
    return {
        "ifindex": step.ifindex,
        "name": step.name,
        "kind": step.kind,
        "mtu_bytes": step.mtu_bytes,
        "carries_bytes": step.carries_bytes,
        "tags": [{"tpid": tag.tpid, "vid": tag.vid} for tag in step.tags],
        "note": step.note,
        "counters": _counters(step, above, guarded, links),
        "below": [_step(below, step, guarded, links) for below in step.below],
    }


def _counters(
    step: Step,
    above: Step | None,
    guarded: Mapping[int, tuple[Counters, Counters]],
    links: Mapping[int, LinkCounters],
) -> dict[str, dict[str, int | None]] | None:
    """Both directions; None where nothing counts what passes.

    A switch's own device counts what the host itself sends and gets.
    """
    ours, counted = guarded.get(step.ifindex), links.get(step.ifindex)
    if step.kind in SWITCH_KINDS:
        return None
    if ours is not None:
        both = [_ours(counters) for counters in ours]
    elif counted is not None:
        both = [
            _counts(counted.rx_packets, counted.rx_bytes, None, counted.rx_dropped),
            _counts(counted.tx_packets, counted.tx_bytes, None, counted.tx_dropped),
        ]
    else:
        return None
    if not _is_entered_from_the_wire_s_side(step, above):
        both.reverse()
    return dict(zip(_WAYS, both, strict=True))


def _is_entered_from_the_wire_s_side(step: Step, above: Step | None) -> bool:
    """Whether frames towards the wire come in by it: a port, or the far end of a veth pair."""
    return above is None or (step.kind == above.kind == "veth")


def _ours(counters: Counters) -> dict[str, int | None]:
    return _counts(counters.frames, counters.bytes, counters.oversized, sum(counters.dropped))


def _counts(
    frames: int, size_bytes: int, oversized: int | None, dropped: int
) -> dict[str, int | None]:
    return {"frames": frames, "bytes": size_bytes, "oversized": oversized, "dropped": dropped}
