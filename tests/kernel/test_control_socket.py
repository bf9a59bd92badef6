# SPDX-License-Identifier: Apache-2.0
"""The control socket against real peers: strangers, members, and those who misbehave."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import secrets
import socket
import stat
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from pathlib import Path

import pytest

from sentinel.cli_client import Client
from sentinel.control import ControlServer
from sentinel.control_limits import Limits
from sentinel.control_peer import group_gid
from sentinel.errors import (
    ControlError,
    NoDaemonError,
    PinsBusyError,
    ProtocolError,
    RefusedError,
)
from tests.harness.canned_control import (
    CannedControl,
    CannedDaemon,
    canned_control,
    port,
    run_directory,
)
from tests.harness.users import STRANGER_UID, as_user
from tests.harness.waiting import wait_until

MEMBERS_GID = 54399

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="becoming somebody else takes root")


@pytest.fixture
def control() -> Iterator[CannedControl]:
    with canned_control(group=MEMBERS_GID) as served:
        served.daemon.ports_answer = [port("tap1", 1), port("tap2", 2)]
        yield served


def ask(path: Path, op: str = "ping", **members: object) -> str:
    """`ok`, or the kind of the error and its words."""
    try:
        with Client(str(path)) as client:
            client.ask(op, **members)
    except (ControlError, RefusedError) as error:
        return f"{type(error).__name__}: {error}"
    return "ok"


def send(path: Path, raw: bytes) -> bytes:
    """All that comes back for some bytes, up to the end of the connection."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(20)
        client.connect(str(path))
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            client.sendall(raw)
        with contextlib.suppress(OSError):
            client.shutdown(socket.SHUT_WR)
        said = b""
        with contextlib.suppress(ConnectionResetError):
            while chunk := client.recv(65536):
                said += chunk
        return said


class TestPeers:
    def test_root_is_answered(self, control: CannedControl) -> None:
        with Client(str(control.path)) as client:
            assert client.ask("ping") == b"{}"
            assert json.loads(client.ask("ports"))[0]["name"] == "tap1"

    @as_root
    def test_a_stranger_is_refused_and_told_of(self, control: CannedControl) -> None:
        said = as_user(
            lambda: ask(control.path, "quarantine", port="tap1"), STRANGER_UID, STRANGER_UID, []
        )
        assert said.startswith("RefusedError: only root and members of the group")
        wait_until(lambda: control.daemon.refusals, 5, "the refusal to be told")
        peer, times = control.daemon.refusals[0]
        assert (peer.uid, peer.gid, times) == (STRANGER_UID, STRANGER_UID, 1)
        assert peer.pid > 1
        assert control.daemon.orders == []

    @as_root
    @pytest.mark.parametrize(
        ("gid", "groups"),
        [
            (MEMBERS_GID, []),
            (STRANGER_UID, [MEMBERS_GID]),
            (STRANGER_UID, [*range(60000, 60400), MEMBERS_GID]),
        ],
        ids=["primary", "supplementary", "one of 401"],
    )
    def test_a_member_may(self, control: CannedControl, gid: int, groups: list[int]) -> None:
        said = as_user(
            lambda: ask(control.path, "quarantine", port="tap1", reason="noise"),
            STRANGER_UID,
            gid,
            groups,
        )
        assert said == "ok"
        assert control.daemon.orders[0][:4] == ("quarantine", "tap1", None, "noise")
        assert control.daemon.orders[0][4].uid == STRANGER_UID

    @as_root
    def test_without_a_group_a_member_of_gid_0_may_not(self) -> None:
        with canned_control(group=None) as control:
            said = as_user(lambda: ask(control.path), STRANGER_UID, 0, [0])
        assert said.startswith("RefusedError")

    @as_root
    def test_knocking_is_told_once_and_then_counted(self) -> None:
        knocks = 30
        with canned_control(limits=Limits(refusals_s=1.0)) as control:

            def knock() -> int:
                return sum(ask(control.path).startswith("RefusedError") for _ in range(knocks))

            assert as_user(knock, STRANGER_UID, STRANGER_UID, []) == knocks
            assert [times for _, times in control.daemon.refusals] == [1]
            wait_until(lambda: len(control.daemon.refusals) > 1, 10, "the rest to be told")
            assert sum(times for _, times in control.daemon.refusals) == knocks
            assert control.server.counters.refused == knocks

    @as_root
    def test_a_crowd_of_strangers_does_not_keep_root_out(self, control: CannedControl) -> None:
        def crowd() -> int:
            knocking = []
            for _ in range(500):
                client = socket.socket(socket.AF_UNIX)
                client.connect(str(control.path))
                knocking.append(client)
            return len(knocking)

        assert as_user(crowd, STRANGER_UID, STRANGER_UID, []) == 500
        assert ask(control.path) == "ok"
        assert len(control.daemon.refusals) == 1

    @as_root
    def test_a_member_cannot_take_every_place(self) -> None:
        limits = Limits(clients=8, clients_per_uid=4)
        with canned_control(group=MEMBERS_GID, limits=limits) as control:

            def crowd() -> str:
                held = [socket.socket(socket.AF_UNIX) for _ in range(4)]
                for client in held:
                    client.connect(str(control.path))
                return ask(control.path)

            said = as_user(crowd, STRANGER_UID, MEMBERS_GID, [])
            assert "too many clients" in said
            assert ask(control.path) == "ok"


class TestBadInput:
    @pytest.mark.parametrize(
        "raw",
        [
            b"\xff\xfe\x00\n",
            b"\n",
            b"[]\n",
            b"null\n",
            b"7\n",
            b'"ports"\n',
            b"{}\n",
            b'{"op":"reboot"}\n',
            b'{"op":7}\n',
            b'{"op":"show"}\n',
            b'{"op":"show","port":""}\n',
            b'{"op":"show","port":7}\n',
            b'{"op":"ports","verbose":true}\n',
            b'{"op":"quarantine","port":"tap1","for_ns":-1}\n',
            b'{"op":"quarantine","port":"tap1","for_ns":1e3}\n',
            b'{"op":"quarantine","port":"tap1","for_ns":99999999999999999999}\n',
            b'{"op":"incidents","limit":0}\n',
            b'{"op":"incidents","limit":1001}\n',
            b'{"op":"release","port":"tap1","reason":"' + b"x" * 401 + b'"}\n',
            b"[" * 60000 + b"\n",
            b'{"op":"ping","op":"' + b"x" * 60000 + b'"}\n',
            b"\x1b[2J\n",
        ],
        ids=lambda raw: repr(raw[:40]),
    )
    def test_what_is_no_request_is_answered_as_usage(
        self, control: CannedControl, raw: bytes
    ) -> None:
        answer = json.loads(send(control.path, raw))
        assert answer["ok"] is False
        assert answer["code"] == "usage"
        assert len(answer["message"]) < 1000
        assert control.daemon.orders == []
        assert ask(control.path) == "ok"
        assert control.server.counters.bad_requests == 1

    def test_ten_megabytes_without_a_newline(self, control: CannedControl) -> None:
        answer = json.loads(send(control.path, b"a" * 10_000_000))
        assert "at most 65536 bytes" in answer["message"]
        assert ask(control.path) == "ok"

    def test_random_lines(self, control: CannedControl) -> None:
        for _ in range(50):
            noise = secrets.token_bytes(200).replace(b"\n", b"") + b"\n"
            assert json.loads(send(control.path, noise))["code"] == "usage"
        assert ask(control.path) == "ok"

    def test_a_name_that_is_no_utf8(self, control: CannedControl) -> None:
        assert "ProtocolError" in ask(control.path, "show", port="tap\udcff")
        control.daemon.ports_answer = [port("tap\udcff", 9)]
        with Client(str(control.path)) as client:
            assert json.loads(client.ask("ports"))[0]["name"] == "tap\udcff"

    def test_half_a_request_and_the_end(self, control: CannedControl) -> None:
        assert send(control.path, b'{"op":"quarantine","port":"tap1"}') == b""
        assert control.daemon.orders == []

    def test_half_a_request_and_silence(self) -> None:
        limits = Limits(request_s=0.3)
        with canned_control(limits=limits) as control, socket.socket(socket.AF_UNIX) as client:
            client.settimeout(10)
            client.connect(str(control.path))
            client.sendall(b'{"op":"pi')
            answer = json.loads(client.recv(65536))
            assert "no complete request within 0.3 s" in answer["message"]
            assert client.recv(1) == b""

    def test_a_thousand_connections(self, control: CannedControl) -> None:
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if hard != resource.RLIM_INFINITY and hard < 2048:
            pytest.skip(f"takes 2048 descriptors, and only {hard} are allowed")
        resource.setrlimit(resource.RLIMIT_NOFILE, (2048, hard))
        crowd = [socket.socket(socket.AF_UNIX) for _ in range(1000)]
        try:
            for client in crowd:
                client.connect(str(control.path))
                client.settimeout(20)
            wait_until(
                lambda: control.server.counters.turned_away == 1000 - 64, 20, "the rest turned away"
            )
            answer = json.loads(crowd[-1].recv(65536))
            assert "too many clients" in answer["message"]
        finally:
            for client in crowd:
                client.close()
        wait_until(lambda: ask(control.path) == "ok", 10, "a place to be free again")

    def test_requests_may_follow_each_other(self, control: CannedControl) -> None:
        answers = send(control.path, b'{"op":"ping"}\n' * 3).splitlines()
        assert [json.loads(answer)["ok"] for answer in answers] == [True] * 3


class TestAnswers:
    def test_unknown_port(self, control: CannedControl) -> None:
        line = send(control.path, b'{"op":"show","port":"tap9"}\n')
        assert json.loads(line)["code"] == "not_found"

    def test_refused_order(self, control: CannedControl) -> None:
        async def refuse() -> None:
            raise RefusedError("the fuse is blown")

        control.daemon.before_answer = refuse
        line = send(control.path, b'{"op":"quarantine","port":"tap1"}\n')
        assert json.loads(line) == {"ok": False, "code": "refused", "message": "the fuse is blown"}

    def test_a_failure_keeps_its_details_to_itself(self, control: CannedControl) -> None:
        async def fail() -> None:
            raise KeyError("/secret/place")

        control.daemon.before_answer = fail
        line = send(control.path, b'{"op":"status"}\n')
        assert json.loads(line)["code"] == "internal"
        assert b"secret" not in line
        control.daemon.before_answer = None
        assert ask(control.path, "status") == "ok"

    def test_members_of_a_request_arrive(self, control: CannedControl) -> None:
        ask(control.path, "incidents", since_wall_ns=5, port="tap1", limit=7, open=True)
        ask(control.path, "incidents")
        assert control.daemon.asked == [(5, "tap1", 7, True), (None, None, 50, False)]

    def test_an_order_from_one_who_has_hung_up_is_not_carried_out(
        self, control: CannedControl
    ) -> None:
        control.stall(0.5)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(control.path))
            client.sendall(b'{"op":"quarantine","port":"tap1"}\n')
        wait_until(lambda: control.server.counters.abandoned_orders, 10, "the order to be seen")
        assert control.daemon.orders == []

    def test_an_order_from_one_who_still_listens_is(self, control: CannedControl) -> None:
        control.stall(0.3)
        assert json.loads(send(control.path, b'{"op":"quarantine","port":"tap1"}\n'))["ok"]
        assert len(control.daemon.orders) == 1

    def test_an_order_that_has_begun_is_carried_through(self, control: CannedControl) -> None:
        begun = asyncio.Event()

        async def dawdle() -> None:
            begun.set()
            await asyncio.sleep(0.3)

        control.daemon.before_answer = dawdle
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(control.path))
            client.sendall(b'{"op":"quarantine","port":"tap1"}\n')
            wait_until(begun.is_set, 10, "the order to begin")
        control.stop()
        assert len(control.daemon.orders) == 1

    def test_an_answer_that_nobody_reads(self) -> None:
        limits = Limits(write_s=0.3)
        with canned_control(limits=limits) as control:
            control.daemon.ports_answer = [port(f"tap{n}", n) for n in range(3000)]
            with socket.socket(socket.AF_UNIX) as deaf:
                deaf.connect(str(control.path))
                deaf.sendall(b'{"op":"ports"}\n')
                assert ask(control.path) == "ok"
                wait_until(lambda: control.server.counters.slow_readers == 1, 10, "it dropped")


class TestWatch:
    def test_events_come_in_order_and_from_where_one_left(self, control: CannedControl) -> None:
        control.tell(3)
        with Client(str(control.path)) as client:
            events = client.watch(1)
            assert [json.loads(next(events))["seq"] for _ in range(2)] == [2, 3]
            control.tell(2)
            assert [json.loads(next(events))["seq"] for _ in range(2)] == [4, 5]

    def test_from_now_on(self, control: CannedControl) -> None:
        control.tell(3)
        with Client(str(control.path)) as client:
            client.ask("watch")
            wait_until(lambda: control.server.watchers == 1, 5, "the watch")
            control.tell(1)
            assert json.loads(client._read_line())["seq"] == 4

    def test_a_reader_that_never_reads_is_dropped_and_delays_nobody(self) -> None:
        number = 20_000
        with (
            canned_control(limits=Limits(write_s=1.0)) as control,
            socket.socket(socket.AF_UNIX) as deaf,
            Client(str(control.path)) as keen,
        ):
            deaf.connect(str(control.path))
            deaf.sendall(b'{"op":"watch","after":0}\n')
            keen.ask("watch", after=0)
            wait_until(lambda: control.server.watchers == 2, 5, "both watches")
            begun = time.monotonic()
            control.tell(number)
            seen = [json.loads(keen._read_line())["seq"] for _ in range(number)]
            took_s = time.monotonic() - begun
            assert seen == list(range(1, number + 1))
            assert ask(control.path) == "ok"
            wait_until(lambda: control.server.watchers == 1, 10, "the deaf one dropped")
            assert control.server.counters.slow_readers == 1
            control.tell(1)
            assert json.loads(keen._read_line())["seq"] == number + 1
            assert took_s < 10

    def test_one_that_hangs_up_is_forgotten(self, control: CannedControl) -> None:
        with Client(str(control.path)) as client:
            client.ask("watch")
            wait_until(lambda: control.server.watchers == 1, 5, "the watch")
        wait_until(lambda: control.server.watchers == 0, 5, "it to be forgotten")

    def test_too_many(self) -> None:
        with (
            canned_control(limits=Limits(watchers=1)) as control,
            Client(str(control.path)) as first,
            Client(str(control.path)) as second,
        ):
            first.ask("watch")
            with pytest.raises(RefusedError, match="the limit"):
                second.ask("watch")

    def test_the_end_of_the_daemon_ends_it(self, control: CannedControl) -> None:
        with Client(str(control.path)) as client:
            client.ask("watch")
            control.stop()
            assert client._read_line() == b""


class TestPlace:
    def test_everybody_may_knock(self, control: CannedControl) -> None:
        assert stat.S_IMODE(control.path.stat().st_mode) == 0o666

    def test_a_second_daemon_is_refused(self, control: CannedControl) -> None:
        async def second() -> None:
            await ControlServer(control.path, None, CannedDaemon()).start()

        with pytest.raises(PinsBusyError, match=rf"another daemon \(pid {os.getpid()}\)"):
            asyncio.run(second())
        assert ask(control.path) == "ok"

    def test_nothing_is_left_behind(self) -> None:
        with run_directory() as place:
            path = place / "run" / "control.sock"

            async def live() -> None:
                server = ControlServer(path, None, CannedDaemon())
                await server.start()
                assert path.is_socket()
                assert stat.S_IMODE(path.parent.stat().st_mode) == 0o755
                await server.stop()
                await server.stop()

            asyncio.run(live())
            assert list(path.parent.iterdir()) == []

    def test_a_socket_left_by_one_that_was_killed_is_replaced(self) -> None:
        script = (
            "import asyncio, sys\n"
            "from pathlib import Path\n"
            "from sentinel.control import ControlServer\n"
            "from tests.harness.canned_control import CannedDaemon\n"
            "async def live():\n"
            "    await ControlServer(Path(sys.argv[1]), None, CannedDaemon()).start()\n"
            "    print('ready', flush=True)\n"
            "    await asyncio.sleep(60)\n"
            "asyncio.run(live())\n"
        )
        with run_directory() as place:
            path = place / "control.sock"
            with subprocess.Popen(
                [sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE
            ) as first:
                try:
                    assert first.stdout is not None
                    assert first.stdout.readline() == b"ready\n"
                    assert ask(path) == "ok"
                finally:
                    first.kill()
            assert path.is_socket()
            assert ask(path).startswith("NoDaemonError")
            successor = CannedControl(path, None, None)
            try:
                successor.start()
                assert ask(path) == "ok"
            finally:
                successor.stop()

    def test_what_is_no_socket_is_left_alone(self) -> None:
        with run_directory() as place:
            path = place / "control.sock"
            path.write_text("precious")
            with pytest.raises(ControlError, match="is not a socket"):
                asyncio.run(ControlServer(path, None, CannedDaemon()).start())
            assert path.read_text() == "precious"
            assert list(place.iterdir()) == [path]

    def test_a_path_too_long(self) -> None:
        path = Path("/tmp") / ("x" * 100) / "control.sock"
        with pytest.raises(ControlError, match=r"paths\.run_dir"):
            asyncio.run(ControlServer(path, None, CannedDaemon()).start())

    def test_a_place_that_is_none(self) -> None:
        with pytest.raises(ControlError, match=r"paths\.run_dir"):
            asyncio.run(ControlServer(Path("/proc/none/c.sock"), None, CannedDaemon()).start())


class TestClient:
    def test_nobody_there(self) -> None:
        with run_directory() as place, pytest.raises(NoDaemonError, match="no daemon answers"):
            Client(str(place / "control.sock"))

    def test_a_daemon_that_stands_still(self, control: CannedControl) -> None:
        control.stall(1.0)
        silent = pytest.raises(NoDaemonError, match=r"has not answered for 0\.2 s")
        with Client(str(control.path), timeout_s=0.2) as client, silent:
            client.ask("ping")

    def test_a_place_in_a_full_backlog_is_waited_for(self) -> None:
        with run_directory() as place, socket.socket(socket.AF_UNIX) as listening:
            path = str(place / "control.sock")
            listening.bind(path)
            listening.listen(0)
            with Client(path), ThreadPoolExecutor() as pool:
                waiting = pool.submit(Client, path, 20.0)
                with pytest.raises(FutureTimeoutError):
                    waiting.result(0.2)
                listening.accept()[0].close()
                waiting.result(20).close()

    def test_a_daemon_that_stands_still_with_a_full_backlog(self) -> None:
        with run_directory() as place, socket.socket(socket.AF_UNIX) as listening:
            path = str(place / "control.sock")
            listening.bind(path)
            listening.listen(0)
            with Client(path, timeout_s=0.2), pytest.raises(NoDaemonError, match="not answered"):
                Client(path, timeout_s=0.2)

    @pytest.mark.parametrize("answer", [b"", b"{", b'{"ok":true,"result":['])
    def test_a_daemon_that_dies_in_mid_answer(self, answer: bytes) -> None:
        with run_directory() as place, socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(place / "control.sock"))
            listening.listen(1)
            with Client(str(place / "control.sock")) as client:
                served, _ = listening.accept()
                served.sendall(answer)
                served.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 0, 0))
                served.close()
                with pytest.raises(NoDaemonError, match="went away"):
                    client.ask("ping")

    def test_something_else_listens_there(self) -> None:
        with run_directory() as place, socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(place / "control.sock"))
            listening.listen(1)
            with Client(str(place / "control.sock")) as client:
                served, _ = listening.accept()
                with served:
                    served.sendall(b"220 mail ready\n")
                    with pytest.raises(ProtocolError, match="no answer"):
                        client.ask("ping")


def test_groups_by_name() -> None:
    assert group_gid("root") == 0
    assert group_gid("no-such-group-here") is None
