# SPDX-License-Identifier: Apache-2.0
"""The doctor on a real host: devices in a namespace, a daemon, Open vSwitch, another user."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sentinel import doctor, doctor_facts
from sentinel.config import default_config
from sentinel.doctor import findings_json
from tests.harness.canned_control import CannedControl, canned_control, run_directory
from tests.harness.namespaces import Namespace
from tests.harness.taps import Tap
from tests.harness.users import STRANGER_UID, as_user
from tests.harness.waiting import PATIENCE

DOCTOR = [sys.executable, "-m", "sentinel.cli", "doctor", "--json"]
OVSDB_SCHEMA = Path("/usr/share/openvswitch/vswitch.ovsschema")

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces and taps take root")


@pytest.fixture
def netns() -> Iterator[Namespace]:
    with Namespace("doctor") as namespace:
        yield namespace


def examine(argv: list[str], place: Path, more: str = "") -> dict[str, list[dict[str, Any]]]:
    """Findings by title, of a doctor that is run with a configuration."""
    file = place / "c.toml"
    file.write_text(f'[paths]\nrun_dir = "{place}"\n{more}')
    done = subprocess.run(
        [*argv, "--config", str(file)], capture_output=True, text=True, timeout=60, check=False
    )
    findings = json.loads(done.stdout)
    failed = any(finding["level"] == "fail" for finding in findings)
    assert done.returncode == (1 if failed else 0)
    assert done.stderr == ""
    by_title: dict[str, list[dict[str, Any]]] = {}
    for finding in findings:
        by_title.setdefault(finding["title"], []).append(finding)
    return by_title


def test_this_kernel_is_good_enough() -> None:
    with run_directory() as place:
        found = examine(DOCTOR, place)
    for title in ("kernel", "rights", "bpf(2)", "bpffs", "attach", "libbpf"):
        assert [finding["level"] for finding in found[title]] == ["ok"], found[title]
    assert found["daemon"][0]["level"] == "warn"
    assert "no daemon answers" in found["daemon"][0]["detail"]


def test_devices_of_the_namespace_and_no_others(netns: Namespace) -> None:
    with Tap("tap7", netns), Tap("other", netns), run_directory() as place:
        netns.ip(
            "link add br0 type bridge stp_state 1 group_fwd_mask 0x4100",
            "link add nic0 type veth peer name wire",
            "link set nic0 master br0",
            "link set tap7 master br0",
            "link add mv0 link wire type macvlan mode bridge",
        )
        found = examine(netns.command(DOCTOR), place)
    assert found["ports"][0]["detail"] == "1 match tap*, vnet*: tap7"
    assert found["JIT"][0]["level"] == "ok"
    assert found["macvtap"][0]["detail"].startswith("mv0: ")
    stp, mask = found["bridges"]
    assert "spanning tree is on at br0" in stp["detail"]
    assert "08 0e (group_fwd_mask 0x4100)" in mask["detail"]


def test_a_daemon_and_its_problems() -> None:
    with canned_control() as control:
        control.daemon.status_answer = {
            **control.daemon.status_answer,
            "problems": ["the disk is full"],
        }
        found = examine(DOCTOR, control.path.parent)
    assert [finding["level"] for finding in found["daemon"]] == ["ok", "warn"]
    assert found["daemon"][1]["detail"] == "the disk is full"


def test_a_daemon_that_hangs(control_stalled: CannedControl) -> None:
    found = examine(DOCTOR, control_stalled.path.parent)
    assert "has not answered" in found["daemon"][0]["detail"]


@pytest.fixture
def control_stalled() -> Iterator[CannedControl]:
    with canned_control() as control:
        # For longer than the command takes to begin, and then waits.
        control.stall(2 + 2 * PATIENCE)
        yield control


def test_a_wrong_configuration_fails_and_the_host_is_looked_at_all_the_same() -> None:
    with run_directory() as place:
        found = examine(DOCTOR, place, '[checks.bdpu]\naction = "drop"\n')
    assert found["configuration"][0]["level"] == "fail"
    assert "bdpu" in found["configuration"][0]["detail"]
    assert found["kernel"][0]["level"] == "ok"


def test_for_people() -> None:
    done = subprocess.run([*DOCTOR[:-1]], capture_output=True, text=True, timeout=60, check=False)
    assert "nothing cuts: every check only counts" in done.stdout or done.returncode == 1
    assert "\x1b" not in done.stdout


def test_another_user_is_told_what_is_not_seen() -> None:
    with canned_control() as control:
        text = f'[paths]\nrun_dir = "{control.path.parent}"\n'
        said = as_user(
            lambda: json.loads(findings_json(doctor.examine(text, "c.toml"))),
            STRANGER_UID,
            STRANGER_UID,
        )
        assert control.daemon.refusals
    findings = {finding["title"]: finding for finding in said}
    assert {finding["level"] for finding in said} == {"ok", "warn"}
    assert f"uid {STRANGER_UID}" in findings["rights"]["detail"]
    assert "only root and members" in findings["daemon"]["detail"]


@pytest.mark.skipif(
    shutil.which("ovsdb-server") is None or not OVSDB_SCHEMA.exists(),
    reason="needs openvswitch-switch",
)
def test_ports_of_open_vswitch_that_no_tap_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    with run_directory() as place:
        monkeypatch.setenv("OVS_RUNDIR", str(place))
        database = str(place / "conf.db")
        subprocess.run(["ovsdb-tool", "create", database, str(OVSDB_SCHEMA)], check=True)
        with subprocess.Popen(
            [
                "ovsdb-server",
                database,
                f"--remote=punix:{place}/db.sock",
                f"--pidfile={place}/pid",
                f"--unixctl={place}/ctl",
                "-vconsole:off",
            ],
        ) as server:
            try:
                subprocess.run(
                    [
                        "ovs-vsctl",
                        "--retry",
                        "--no-wait",
                        "--timeout=20",
                        "add-br",
                        "br-int",
                        "--",
                        "add-port",
                        "br-int",
                        "vhu1",
                        "--",
                        "set",
                        "Interface",
                        "vhu1",
                        "type=dpdkvhostuserclient",
                        "--",
                        "add-port",
                        "br-int",
                        "tap1",
                    ],
                    check=True,
                )
                found = doctor_facts.gather(default_config())
            finally:
                server.terminate()
    assert found.dpdk_ports == ("vhu1",)


def test_sockets_of_vhost_user(monkeypatch: pytest.MonkeyPatch) -> None:
    with run_directory() as place:
        (place / "vhu0123").touch()
        (place / "other").touch()
        monkeypatch.setattr(doctor_facts, "_VHOST_DIRS", (str(place),))
        assert doctor_facts.gather(default_config()).vhost_sockets == ("vhu0123",)
