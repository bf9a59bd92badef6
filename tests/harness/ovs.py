# SPDX-License-Identifier: Apache-2.0
"""A real ovsdb-server and ovs-vswitchd, away from the host's own."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from pathlib import Path

from tests.harness.namespaces import Namespace
from tests.harness.waiting import wait_until

SCHEMA = Path("/usr/share/openvswitch/vswitch.ovsschema")
PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
MISSING = [
    tool
    for tool in ("ovsdb-server", "ovsdb-tool", "ovs-vswitchd", "ovs-vsctl")
    if shutil.which(tool, path=PATH) is None
]
NO_OVS_HERE = (
    f"Debian's openvswitch-switch is not installed (no {', '.join(MISSING) or SCHEMA})"
    if MISSING or not SCHEMA.exists()
    else ""
)
"""Why there is none; empty where there is."""


class Ovs:
    """Open vSwitch's database and switch, in a directory and a namespace of their own."""

    def __init__(self, directory: Path, netns: Namespace) -> None:
        self.directory = directory
        self.netns = netns
        self.socket = directory / "db.sock"
        self.env = {
            "PATH": PATH,
            "OVS_RUNDIR": str(directory),
            "OVS_LOGDIR": str(directory),
            "OVS_DBDIR": str(directory),
            "OVS_SYSCONFDIR": str(directory),
        }
        subprocess.run(
            ["ovsdb-tool", "create", directory / "conf.db", SCHEMA], env=self.env, check=True
        )
        self.server = self.start_server()
        self.vsctl("init")

    def start_server(self) -> subprocess.Popen[str]:
        server = self.netns.popen(
            [
                "ovsdb-server",
                self.directory / "conf.db",
                f"--remote=punix:{self.socket}",
                f"--unixctl={self.directory}/ovsdb.ctl",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=self.env,
        )
        wait_until(self._answers, 10, "ovsdb-server to listen")
        return server

    def _answers(self) -> bool:
        # A socket has its name before anybody listens.
        with socket.socket(socket.AF_UNIX) as client:
            try:
                client.connect(str(self.socket))
            except OSError:
                return False
        return True

    def stop_server(self) -> None:
        self.server.terminate()
        self.server.wait(10)

    def start_switch(self) -> None:
        self.netns.popen(
            ["ovs-vswitchd", f"unix:{self.socket}", f"--unixctl={self.directory}/vswitchd.ctl"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=self.env,
        )

    def vsctl(self, *words: str, wait: bool = False) -> str:
        options = ["--timeout=10", f"--db=unix:{self.socket}"] + ([] if wait else ["--no-wait"])
        return subprocess.run(
            ["ovs-vsctl", *options, *words],
            env=self.env,
            check=True,
            capture_output=True,
            text=True,
        ).stdout
