# SPDX-License-Identifier: Apache-2.0
"""The real daemon as a process, and the real command beside it, in a namespace.

It has its own configuration, run and state directory, and pins below
/sys/fs/bpf/ts-<pid>-<random>; all of it goes with the context manager, and what
a killed run left of its pins goes with the next run's start.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.harness.compiled import collect_compiled, lend_compiled
from tests.harness.namespaces import Namespace
from tests.harness.programs import loader_under_test
from tests.harness.waiting import wait_until

CHECKOUT = Path(__file__).parents[2]
COMMAND = CHECKOUT / ".venv" / "bin" / "tapsentinel"
BPFFS = Path("/sys/fs/bpf")
OUR_PINS = re.compile(r"ts-(?P<pid>\d+)-[0-9a-f]{6}")

Scalar = str | int | bool | Sequence[str] | Sequence[Mapping[str, object]]
Tables = Mapping[str, Mapping[str, Scalar]]


class Sentinel:
    """A daemon in `netns`; `tables` are the configuration beside [paths].

    `tables` maps a table's dotted name to its keys, as in
    `{"checks.bpdu": {"action": "quarantine"}}`.
    """

    def __init__(self, netns: Namespace, tables: Tables | None = None) -> None:
        sweep_pins()
        self.netns = netns
        self.directory = Path(tempfile.mkdtemp(prefix=f"ts-{os.getpid()}-"))
        self.pins = BPFFS / f"ts-{os.getpid()}-{secrets.token_hex(3)}"
        self.config = self.directory / "tapsentinel.toml"
        self.log_file = self.directory / "daemon.log"
        self.process: subprocess.Popen[str] | None = None
        self.command = COMMAND
        self.configure(tables or {})

    def __enter__(self) -> Sentinel:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None and self.log_file.exists():
            error.add_note(f"the daemon's log:\n{self.log()}")
        self.close()

    def configure(self, tables: Tables) -> None:
        """Write the configuration; a running daemon keeps the one it started with."""
        paths: dict[str, Scalar] = {
            "run_dir": str(self.directory / "run"),
            "state_dir": str(self.directory / "state"),
            "bpffs_dir": str(self.pins),
        }
        if loader_under_test() != "auto":
            kernel = {"loader": loader_under_test(), **tables.get("kernel", {})}
            tables = {**tables, "kernel": kernel}
        self.config.write_text(toml_text({"paths": paths, **tables}))

    def start(self, ports: Iterable[str] = (), timeout_s: float = 60) -> None:
        """Start the daemon and wait until it answers and watches `ports`.

        Raises RuntimeError, with the daemon's log, if it ends or is too late.
        """
        compiled = self.directory / "state" / "compiled"
        lend_compiled(compiled)
        with self.log_file.open("a") as log:
            self.process = self.netns.popen(
                [self.command, "daemon", "--config", self.config], stdout=log, stderr=log
            )
        wanted = set(ports)
        try:
            wait_until(lambda: self._answers(wanted), timeout_s, "the daemon to be ready", 0.02)
        except TimeoutError as late:
            raise RuntimeError(f"{late}; watched {wanted}; its log:\n{self.log()}") from None
        collect_compiled(compiled)

    def _answers(self, ports: set[str]) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise RuntimeError(f"the daemon ended with {self.process.returncode}:\n{self.log()}")
        if not (self.directory / "run" / "control.sock").exists():
            return False
        if self.cli("status", "--json").returncode != 0:
            return False
        return not ports or ports <= {
            port["name"] for port in self.ports() if port["state"] in ("watched", "quarantined")
        }

    def signal(self, number: signal.Signals) -> None:
        """Send a signal: SIGSTOP and SIGCONT to freeze and thaw, SIGHUP and so on."""
        assert self.process is not None
        self.process.send_signal(number)

    def stop(self, timeout_s: float = 20) -> int:
        """End the daemon in good order (SIGTERM); returns its exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)
        self.process.terminate()
        return self.process.wait(timeout_s)

    def kill(self) -> None:
        """End the daemon by SIGKILL."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def cli(self, *words: str, timeout_s: float = 30) -> subprocess.CompletedProcess[str]:
        """Run `tapsentinel WORDS --config …` beside the daemon; never raises for its exit code."""
        return self.netns.run(
            [self.command, *words, "--config", self.config], check=False, timeout_s=timeout_s
        )

    def json(self, *words: str) -> Any:
        """What `tapsentinel WORDS --json` says. Raises RuntimeError with its complaint."""
        done = self.cli(*words, "--json")
        if done.returncode != 0:
            raise RuntimeError(
                f"tapsentinel {' '.join(words)} ended with {done.returncode}: {done.stderr}"
            )
        return json.loads(done.stdout)

    def ports(self) -> list[dict[str, Any]]:
        """`tapsentinel ports --json`."""
        found: list[dict[str, Any]] = self.json("ports")
        return found

    def port(self, name: str) -> dict[str, Any]:
        """One of `ports()`. Raises KeyError."""
        for port in self.ports():
            if port["name"] == name:
                return port
        raise KeyError(name)

    def incidents(self, port: str | None = None, check: str | None = None) -> list[dict[str, Any]]:
        """`tapsentinel incidents --json`, newest first; of one port or check if named."""
        found: list[dict[str, Any]] = self.json("incidents")
        return [
            one for one in found if port in (None, one["port"]) and check in (None, one["check"])
        ]

    def log(self) -> str:
        """Everything the daemon wrote to stdout and stderr."""
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def close(self) -> None:
        """Kill what still runs and remove pins and files; may be called again."""
        if self.process is not None and self.process.poll() is None:
            self.kill()
        _remove_pins(self.pins)
        shutil.rmtree(self.directory, ignore_errors=True)


def toml_text(tables: Tables, between: str = "\n") -> str:
    """TOML of tables by dotted name. Raises TypeError for a value that is none of Scalar."""
    lines = []
    for name, keys in tables.items():
        lines.append(f"[{name}]")
        lines += [f"{key} = {_toml_value(value)}" for key, value in keys.items()]
    return between.join(lines) + between


def _toml_value(value: object) -> str:
    if isinstance(value, Mapping):
        inside = ", ".join(f"{key} = {_toml_value(item)}" for key, item in value.items())
        return f"{{{inside}}}"
    if isinstance(value, list | tuple) and any(isinstance(one, Mapping) for one in value):
        return f"[{', '.join(map(_toml_value, value))}]"
    # JSON's strings, numbers, booleans and arrays of strings are TOML's.
    if not isinstance(value, str | int | bool | list | tuple):
        raise TypeError(f"{value!r} has no TOML here")
    return json.dumps(value)


def sweep_pins() -> None:
    """Remove pins whose maker is dead."""
    with contextlib.suppress(OSError):
        for entry in BPFFS.iterdir():
            match = OUR_PINS.fullmatch(entry.name)
            if match and not Path(f"/proc/{match['pid']}").exists():
                _remove_pins(entry)


def _remove_pins(directory: Path) -> None:
    if not directory.is_dir():
        return
    # Links first: closing them takes the programs off their hooks.
    for root, _, files in os.walk(directory, topdown=False):
        for name in sorted(files, key=lambda file: "link" not in file):
            (Path(root) / name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            Path(root).rmdir()
