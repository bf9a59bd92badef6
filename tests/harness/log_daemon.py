# SPDX-License-Identifier: Apache-2.0
"""A daemon without a guard: the real journal, scribe and control socket, in a process.

    python -m tests.harness.log_daemon DIRECTORY GROUP JOURNAL MOST_BYTES

Takes lines from stdin: `ports NAME…` says which ports there are; `COUNT RATE` appends so
many events (at most so many a second, 0: at once) and answers with the number of the
last, once they are on the disk or wait for one that is full. It can be killed at any
moment.

What is carried to it is written to `carried` in the directory, a line of JSON each, and
believed; its own notices are those in the file `notices` there.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from sentinel.control import ControlServer
from sentinel.control_peer import user_uid
from sentinel.effect import Log
from sentinel.errors import RefusedError
from sentinel.event import Event, Json
from sentinel.journal import Journal
from sentinel.protocol import Report
from sentinel.publisher_view import Heard, publisher_document, publisher_problems
from sentinel.scribe import Scribe
from sentinel.vm import VmIdentity
from tests.harness.canned_control import CannedDaemon, port

BATCH = 500
VM = VmIdentity(uuid="1f1f6c2a-65c0-4c39-b9c3-51d3b4f33d6d", name="web-1", source="libvirt")


class LogDaemon(CannedDaemon):
    """Set answers, but for the log and the publisher."""

    def __init__(self, scribe: Scribe, directory: Path) -> None:
        super().__init__()
        self._directory = directory
        self._scribe = scribe
        self._heard: Heard | None = None
        self._since_ns = time.time_ns()

    async def status(self) -> object:
        now_ns = time.time_ns()
        cursor = "" if self._heard is None else self._heard.report.cursor
        kept, missing = await self._scribe.ask(
            lambda journal: (journal.status(), journal.missing_after(cursor))
        )
        told = publisher_document(self._heard, True, kept.last_seq, now_ns, missing)
        problems = publisher_problems(told, now_ns, self._since_ns)
        if kept.problem:
            problems.append(f"journal: {kept.problem}")
        said = {"mqtt": told, "problems": problems, "journal": kept.to_dict()}
        return {**self.status_answer, **said}

    async def report(self, report: Report) -> object:
        self._heard = Heard(report, time.time_ns())
        return {}

    async def carried_order(self, message: str, via: str) -> object:
        self._note("order", message, via)
        order = json.loads(json.loads(message)["payload"])
        if not isinstance(order, dict):
            raise RefusedError("it is no order")
        done = {"port": order["port"], "state": "watched"}
        return {"version": 1, "id": order["id"], "host": "hv-1", "repeated": False, "result": done}

    async def carried_notice(self, message: str, via: str) -> object:
        self._note("notice", message, via)
        return {"taken": True, "why": ""}

    def _note(self, what: str, message: str, via: str) -> None:
        with (self._directory / "carried").open("a") as carried:
            carried.write(json.dumps({"what": what, "message": message, "via": via}) + "\n")

    async def notices(self) -> object:
        file = self._directory / "notices"
        return json.loads(file.read_text()) if file.exists() else []

    async def last_seq(self) -> int:
        return await self._scribe.ask(lambda journal: journal.last_seq())

    async def resume(self, ids: Sequence[str]) -> int | None:
        return await self._scribe.ask(lambda journal: journal.resume(ids))

    async def events_after(self, cursor: int, limit: int) -> Sequence[Mapping[str, object]]:
        entries = await self._scribe.ask(lambda journal: journal.follow(cursor, limit))
        return [entry.to_dict() for entry in entries]


def event(number: int) -> Event:
    """One that is about as large as an incident's update."""
    body: dict[str, Json] = {
        "id": number, "check": "bpdu", "detail": "rstp", "mac": "fa:16:3e:24:e7:22",
        "opened_wall_ns": time.time_ns(), "updated_wall_ns": time.time_ns(),
        "closed_wall_ns": None, "frames": number, "action": "quarantine", "verdict": "latched",
        "frame_hex": "0180c2000000fa163e24e722" * 3, "uplink": False, "evidence": [],
        "summary": f"VM web-1 sent spanning tree into tap{number % 7}.",
    }  # fmt: skip
    return Event("incident.updated", time.time_ns(), f"tap{number % 7}", number % 7 + 1, VM, body)


async def serve(directory: Path, readers: int, path: Path, most_bytes: int) -> None:
    journal = Journal(path, 10**18, most_bytes, host="hv-1")
    server: ControlServer | None = None

    def written() -> None:
        if server is not None:
            server.wake_watchers()

    scribe = Scribe(journal, written)
    daemon = LogDaemon(scribe, directory)
    server = ControlServer(
        directory / "control.sock", None, daemon, readers=readers, publisher_uid=user_uid("nobody")
    )
    scribe.start()
    await server.start()
    print("ready", flush=True)
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    while line := await reader.readline():
        if line.startswith(b"ports"):
            names = line.decode().split()[1:]
            daemon.ports_answer = [port(name, at + 1) for at, name in enumerate(names)]
            print("ports", flush=True)
            continue
        count, rate = map(int, line.split())
        for start in range(0, count, BATCH):
            some = range(start, min(start + BATCH, count))
            await scribe.persist([Log(event(number)) for number in some])
            print(await scribe.ask(lambda journal: journal.last_seq()), flush=True)
            await asyncio.sleep(BATCH / rate if rate else 0)


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])))
