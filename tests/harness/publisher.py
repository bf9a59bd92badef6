# SPDX-License-Identifier: Apache-2.0
"""The real publisher as a process that is nobody, beside a daemon without a guard."""

from __future__ import annotations

import grp
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from sentinel.mqtt.cursor import SLOT_BYTES, read_slot
from tests.harness.broker import LOOPBACK, PUBLISHER, Mosquitto
from tests.harness.daemon import Scalar, Tables, toml_text
from tests.harness.waiting import wait_until

CHECKOUT = Path(__file__).parents[2]
COMMAND = CHECKOUT / ".venv" / "bin" / "tapsentinel"
USER = "nobody"
READERS = "nogroup"


class Host:
    """Directories, a configuration, a log daemon and a publisher; all gone afterwards."""

    def __init__(self, broker: Mosquitto, **mqtt: Scalar) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="ts-host-"))
        self.directory.chmod(0o755)
        self.state = self.directory / "publisher"
        self.config = self.directory / "tapsentinel.toml"
        self.broker = broker
        self._daemon: subprocess.Popen[str] | None = None
        self._publisher: subprocess.Popen[bytes] | None = None
        self.log_file = self.directory / "publisher.log"
        self.configure(None, **mqtt)

    def configure(self, more: Tables | None = None, **mqtt: Scalar) -> None:
        """Write the configuration; a running publisher keeps the one it started with."""
        tables: dict[str, Mapping[str, Scalar]] = {
            "paths": {"run_dir": str(self.directory), "state_dir": str(self.directory)},
            "control": {"readers": READERS},
            "events": {"host": PUBLISHER},
            "mqtt": {
                "enabled": True,
                "host": LOOPBACK,
                "port": self.broker.port,
                "ca_file": str(self.broker.authority.certificate),
                "cert_file": str(self.broker.certificate),
                "key_file": str(self.broker.key),
                "user": USER,
                "state_dir": str(self.state),
                "reconnect_max": "1s",
                **mqtt,
            },
            **(more or {}),
        }
        self.config.write_text(toml_text(tables))

    def __enter__(self) -> Host:
        if os.geteuid() == 0:
            self.state.mkdir()
            shutil.chown(self.state, USER)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            error.add_note(f"the publisher's log:\n{self.log()[-4000:]}")
        for process in (self._daemon, self._publisher):
            if process is not None and process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
                process.wait()
            if process is not None:
                for pipe in (process.stdin, process.stdout):
                    if pipe is not None:
                        pipe.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def start_daemon(self, journal_bytes: int = 4 * 10**9, journal: Path | None = None) -> None:
        """Start the daemon, and wait until it serves.

        Its journal grows no larger; it is in the host's directory unless said otherwise.
        """
        path = journal or self.directory / "journal.db"
        gid = grp.getgrnam(READERS).gr_gid
        self._daemon = subprocess.Popen(
            [
                *(sys.executable, "-m", "tests.harness.log_daemon", str(self.directory)),
                *(str(gid), str(path), str(journal_bytes)),
            ],
            cwd=CHECKOUT,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._daemon.stdout is not None
        assert self._daemon.stdout.readline() == "ready\n"

    def append(self, count: int, rate: int = 0) -> int:
        """Have events journaled; the number of the last, once all are on disk."""
        self.ask_for(count, rate)
        return self.appended(count)

    def ask_for(self, count: int, rate: int = 0) -> None:
        """Have events journaled, without waiting."""
        assert self._daemon is not None
        assert self._daemon.stdin is not None
        self._daemon.stdin.write(f"{count} {rate}\n")
        self._daemon.stdin.flush()

    def appended(self, count: int) -> int:
        """Wait until so many that were asked for are on disk; the number of the last.

        Raises BrokenPipeError if the daemon ends before.
        """
        assert self._daemon is not None
        assert self._daemon.stdout is not None
        said = ""
        for _ in range(0, count, 500):
            said = self._daemon.stdout.readline()
            if not said:
                raise BrokenPipeError("the daemon has ended")
        return int(said)

    def set_ports(self, names: Sequence[str]) -> None:
        """Say which ports the daemon has."""
        assert self._daemon is not None
        assert self._daemon.stdin is not None
        assert self._daemon.stdout is not None
        self._daemon.stdin.write(f"ports {' '.join(names)}\n")
        self._daemon.stdin.flush()
        assert self._daemon.stdout.readline() == "ports\n"

    def carried(self) -> list[dict[str, Any]]:
        """What was carried to the daemon, as it came."""
        file = self.directory / "carried"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def set_notices(self, notices: Sequence[Mapping[str, Any]]) -> None:
        """Say which notices the daemon has signed."""
        new = self.directory / "notices.new"
        new.write_text(json.dumps(notices))
        new.replace(self.directory / "notices")

    def run_once(self) -> subprocess.CompletedProcess[str]:
        """Run another publisher to its end."""
        return subprocess.run(
            [str(COMMAND), "mqtt", "--config", str(self.config)],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    def kill_daemon(self) -> None:
        """End the daemon by SIGKILL."""
        assert self._daemon is not None
        self._daemon.kill()
        self._daemon.wait()

    def start(self) -> None:
        """Start the publisher."""
        with self.log_file.open("ab") as log:
            self._publisher = subprocess.Popen(
                [str(COMMAND), "mqtt", "--config", str(self.config)], stdout=log, stderr=log
            )

    def kill(self) -> None:
        """End the publisher by SIGKILL."""
        assert self._publisher is not None
        self._publisher.kill()
        self._publisher.wait()

    def stop(self) -> int:
        """End the publisher in good order; its exit code."""
        assert self._publisher is not None
        self._publisher.terminate()
        return self._publisher.wait(20)

    @property
    def daemon_pid(self) -> int:
        assert self._daemon is not None
        return self._daemon.pid

    @property
    def publisher_pid(self) -> int:
        assert self._publisher is not None
        return self._publisher.pid

    def cursor_seq(self) -> int:
        """The number of the last event that the broker has acknowledged."""
        raw = (self.state / "cursor").read_bytes()
        slots = [read_slot(raw[:SLOT_BYTES]), read_slot(raw[SLOT_BYTES:])]
        _, names = max((slot for slot in slots if slot is not None), default=(0, ()))
        return int(names[0].rpartition("-")[2]) if names else 0

    def log(self) -> str:
        """What the publisher wrote."""
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def status(self) -> dict[str, Any]:
        """The status of the daemon without a guard; a busy one is asked again."""
        words = [str(COMMAND), "status", "--json", "--config", str(self.config)]
        for _ in range(5):
            done = subprocess.run(words, capture_output=True, text=True, check=False)
            if done.returncode == 0:
                found: dict[str, Any] = json.loads(done.stdout)
                return found
        raise RuntimeError(done.stderr)

    def wait_for(self, problem: str, timeout_s: float = 30) -> None:
        """Wait until `status` tells of a problem with these words."""
        wait_until(lambda: problem in str(self.status()), timeout_s, f"{problem!r} in status", 0.1)
