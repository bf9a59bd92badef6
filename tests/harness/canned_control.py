# SPDX-License-Identifier: Apache-2.0
"""The real control socket with a daemon behind it that only knows set answers."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from sentinel.control import ControlServer
from sentinel.control_limits import Limits
from sentinel.errors import PortGoneError
from sentinel.protocol import Peer, Report

Result = TypeVar("Result")
Json = dict[str, Any]

NOON_NS = 1_760_000_000_000_000_000


def counts(frames: int, bpdus: int = 0, dropped: int = 0) -> Json:
    """Counters of one direction, in the shape of `ports --json`."""
    kinds = ("discover", "offer", "request", "decline", "ack", "nak", "release", "inform", "other")
    return {
        "frames": frames,
        "bytes": frames * 64,
        "oversized": 0,
        "oversized_by_tags": 0,
        "vlan_tagged": 0,
        "vlan_nested": 0,
        "bpdu": {
            **dict.fromkeys(("stp", "mstp", "pvst", "other"), 0),
            "rstp": bpdus,
            "total": bpdus,
        },
        "dhcp": {**dict.fromkeys(kinds, 0), "total": 0},
        "dropped": {
            **dict.fromkeys(("vlan", "size", "rogue_dhcp", "dhcp_flood", "quarantine"), 0),
            "bpdu": dropped,
            "total": dropped,
        },
    }


def port(name: str, ifindex: int, **members: Any) -> Json:
    """A port as `ports --json` lists it."""
    return {
        "name": name,
        "ifindex": ifindex,
        "role": "port",
        "state": "watched",
        "vm": {"uuid": None, "name": f"instance-{ifindex:08x}", "source": "libvirt"},
        "counters": {"from_guest": counts(1000 + ifindex), "to_guest": counts(2000)},
        "quarantine": None,
        **members,
    }


def uplink(name: str, ifindex: int) -> Json:
    """An uplink as `ports --json` lists it."""
    return {
        "name": name,
        "ifindex": ifindex,
        "role": "uplink",
        "state": "watched",
        "vm": None,
        "counters": {"to_wire": counts(3000), "from_wire": counts(4000)},
        "quarantine": None,
    }


def incident(number: int, **members: Any) -> Json:
    """An incident as `incidents --json` lists it."""
    return {
        "id": number,
        "check": "bpdu",
        "detail": "rstp",
        "port": "tap7",
        "ifindex": 7,
        "vm": {"uuid": None, "name": "instance-00000007", "source": "libvirt"},
        "mac": "52:54:00:00:00:07",
        "opened_wall_ns": NOON_NS,
        "updated_wall_ns": NOON_NS + 3_000_000_000,
        "closed_wall_ns": None,
        "frames": 1_000_000,
        "action": "quarantine",
        "verdict": "latched",
        "frame_hex": "0180c200000052540000000700274242030000020200",
        "summary": "a guest speaks rapid spanning tree",
        "uplink": False,
        **members,
    }


STATUS: Json = {
    "version": "0.1.0",
    "abi": 1,
    "host": "hv1",
    "pid": os.getpid(),
    "since_wall_ns": NOON_NS,
    "loader": "libbpf",
    "attach": "tcx",
    "guard": {"watched": 98, "unattached": 0, "trusted": 2, "quarantined": 1, "uplinks": 1},
    "checks": {
        "bpdu": {"action": "quarantine", "threshold": 1, "window_ns": 10_000_000_000},
        "vlan": {"action": "count", "threshold": 1, "window_ns": 10_000_000_000},
        "dhcp_flood": {"action": "quarantine", "threshold": 100, "window_ns": 10_000_000_000},
        "size": {"action": "drop", "threshold": 1, "window_ns": 10_000_000_000},
    },
    "host_bpdu": "count",
    "fuse": {"limit": 9, "quarantined": 1, "refusals": 0, "blown": False},
    "events": {"told": 10, "suppressed": 999_990, "lost": 0},
    "journal": {
        "ok": True,
        "problem": None,
        "entries": 12,
        "size_bytes": 40960,
        "pending": 0,
        "lost": 0,
    },
    "netlink": {"resyncs": 0},
    "problems": [],
}


class CannedDaemon:
    """Answers from memory; ports that it does not know are not found."""

    def __init__(self, ports: Sequence[Json] = ()) -> None:
        self.status_answer: Json = dict(STATUS)
        self.ports_answer = list(ports)
        self.incidents_answer: list[Json] = []
        self.leases_answer: list[Json] = []
        self.audit_answer: Json = {"findings": []}
        self.exchanges_answer: dict[str, Json] = {}
        self.events: list[Json] = []
        self.orders: list[tuple[str, str, int | None, str, Peer]] = []
        self.asked: list[tuple[Any, ...]] = []
        self.refusals: list[tuple[Peer, int]] = []
        self.reports: list[Report] = []
        self.carried: list[tuple[str, str, str]] = []
        self.before_answer: Callable[[], Coroutine[Any, Any, None]] | None = None

    async def status(self) -> object:
        await self._pause()
        return self.status_answer

    async def ports(self) -> object:
        await self._pause()
        return self.ports_answer

    async def show(self, name: str) -> object:
        return {"port": self._port(name), "incidents": self.incidents_answer, "path": {}}

    async def dhcp(self, port: str | None) -> object:
        if port is None:
            return self.leases_answer
        ifindex = self._port(port)["ifindex"]
        return self.exchanges_answer.get(port, {"port": port, "ifindex": ifindex, "clients": []})

    async def audit(self) -> object:
        return self.audit_answer

    async def incidents(
        self, since_wall_ns: int | None, port: str | None, limit: int, open_only: bool
    ) -> object:
        self.asked.append((since_wall_ns, port, limit, open_only))
        return self.incidents_answer[:limit]

    async def quarantine(self, port: str, hold_ns: int | None, reason: str, peer: Peer) -> object:
        await self._pause()
        self.orders.append(("quarantine", port, hold_ns, reason, peer))
        until = NOON_NS + hold_ns if hold_ns else None
        return self._done(port, "quarantined", until)

    async def release(self, port: str, reason: str, peer: Peer) -> object:
        self.orders.append(("release", port, None, reason, peer))
        return self._done(port, "watched", None)

    async def reload(self, peer: Peer) -> object:
        self.orders.append(("reload", "", None, "", peer))
        return {"file": "c.toml", "changes": [], "attached": [], "released": [], "problems": []}

    async def last_seq(self) -> int:
        return len(self.events)

    async def resume(self, ids: Sequence[str]) -> int | None:
        known = {str(one.get("id")): int(one["seq"]) for one in self.events}
        return next((known[name] for name in ids if name in known), None)

    async def report(self, report: Report) -> object:
        self.reports.append(report)
        return {}

    async def carried_order(self, message: str, via: str) -> object:
        self.carried.append(("order", message, via))
        return {"id": None, "result": {}}

    async def carried_notice(self, message: str, via: str) -> object:
        self.carried.append(("notice", message, via))
        return {"taken": True, "why": ""}

    async def notices(self) -> object:
        return []

    async def events_after(self, cursor: int, limit: int) -> Sequence[Mapping[str, object]]:
        return self.events[cursor : cursor + limit]

    def peer_refused(self, peer: Peer, times: int) -> None:
        self.refusals.append((peer, times))

    def add_events(self, number: int, **members: Any) -> None:
        """Append events, numbered as a journal numbers them."""
        for seq in range(len(self.events) + 1, len(self.events) + number + 1):
            self.events.append(
                {
                    "seq": seq,
                    "kind": "incident.updated",
                    "time_ns": NOON_NS + seq,
                    "port": "tap7",
                    "ifindex": 7,
                    "vm": None,
                    "body": {"summary": "a guest speaks rapid spanning tree", "frames": seq},
                    **members,
                }
            )

    async def _pause(self) -> None:
        if self.before_answer is not None:
            await self.before_answer()

    def _port(self, name: str) -> Json:
        for known in self.ports_answer:
            if known["name"] == name:
                return known
        raise PortGoneError(f"{name}: no such port here; `tapsentinel ports` lists them")

    def _done(self, name: str, state: str, until: int | None) -> Json:
        known = self._port(name)
        changed = known["state"] != state
        known["state"] = state
        return {
            "port": name,
            "ifindex": known["ifindex"],
            "changed": changed,
            "state": state,
            "until_wall_ns": until,
            "journaled": True,
            "daemon": True,
        }


class CannedControl:
    """A control server on a thread with a loop of its own, for blocking clients."""

    def __init__(
        self,
        path: Path,
        group: int | None,
        limits: Limits | None,
        readers: int | None = None,
        publisher_uid: int | None = None,
    ) -> None:
        self.path = path
        self.daemon = CannedDaemon()
        self.loop = asyncio.new_event_loop()
        self.server = ControlServer(path, group, self.daemon, limits, readers, publisher_uid)
        self._stopped = False
        self._thread = threading.Thread(target=self.loop.run_forever, name="canned control")

    def start(self) -> None:
        """Open the socket."""
        self._thread.start()
        self.call(self.server.start())

    def stop(self) -> None:
        """Close the socket and end the thread; may be called again."""
        if self._stopped:
            return
        self._stopped = True
        self.call(self.server.stop())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(10)
        self.loop.close()

    def call(self, job: Coroutine[Any, Any, Result]) -> Result:
        """Run a coroutine on the server's loop and return what it returns."""
        return asyncio.run_coroutine_threadsafe(job, self.loop).result(30)

    def stall(self, seconds: float) -> None:
        """Let the loop stand still from now on for a while, as a stopped daemon does."""
        begun = threading.Event()

        def stand_still() -> None:
            begun.set()
            time.sleep(seconds)

        self.loop.call_soon_threadsafe(stand_still)
        begun.wait(10)

    def tell(self, number: int, **members: Any) -> None:
        """Append events and wake the watchers, on the loop."""

        async def add() -> None:
            self.daemon.add_events(number, **members)
            self.server.wake_watchers()

        self.call(add())


@contextlib.contextmanager
def run_directory() -> Iterator[Path]:
    """A directory with a short name that every user can reach."""
    place = Path(tempfile.mkdtemp(prefix="ts-run-", dir="/tmp"))
    place.chmod(0o755)
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


@contextlib.contextmanager
def canned_control(
    group: int | None = None,
    limits: Limits | None = None,
    readers: int | None = None,
    publisher_uid: int | None = None,
) -> Iterator[CannedControl]:
    """A served control socket in a directory of its own; both are gone afterwards."""
    with run_directory() as place:
        control = CannedControl(place / "control.sock", group, limits, readers, publisher_uid)
        try:
            control.start()
            yield control
        finally:
            control.stop()
