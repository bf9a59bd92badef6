# SPDX-License-Identifier: Apache-2.0
"""What the doctor makes of what it sees."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterable
from dataclasses import replace

import pytest

from sentinel.cli_text import Style
from sentinel.config import Config, default_config, parse_config
from sentinel.doctor import finding_lines, findings_json
from sentinel.doctor_facts import capabilities_in, file_system_of, link_of
from sentinel.doctor_kernel import (
    judge_attach,
    judge_bcc,
    judge_bpf,
    judge_bpffs,
    judge_btf,
    judge_drops,
    judge_jit,
    judge_libbpf,
    judge_lockdown,
    judge_memlock,
    judge_release,
    judge_rights,
    kernel_version,
)
from sentinel.doctor_rules import (
    judge,
    judge_bridges,
    judge_config,
    judge_daemon,
    judge_dark_ports,
    judge_in_front,
    judge_ports,
    uplinks,
    watched,
)
from sentinel.doctor_types import (
    BccFact,
    DaemonFacts,
    DropsFact,
    Finding,
    HostFacts,
    KernelFacts,
    Level,
    LinkFact,
    PinFacts,
)

EVERYTHING = (1 << 41) - 1
ADMIN, NET_ADMIN, PTRACE, PERFMON, BPF = 1 << 21, 1 << 12, 1 << 19, 1 << 38, 1 << 39

HEALTHY = HostFacts(
    kernel=KernelFacts(
        release="6.1.0-28-amd64",
        uid=0,
        capabilities=EVERYTHING,
        bpf_errno=0,
        tcx_errno=errno.EINVAL,
        jit="1",
        btf=True,
        lockdown="[none] integrity confidentiality",
        memlock_bytes=None,
    ),
    pins=PinFacts("/sys/fs/bpf/tapsentinel", supported=True, mounted=True, pinned=True),
    daemon=DaemonFacts("answers", version="0.1.0", pid=7),
    libbpf_problem=None,
    bcc=None,
    group_exists=True,
    links=(
        LinkFact("tap1", 2, "tun", tap=True, in_bridge=True),
        LinkFact("br0", 3, "bridge"),
        LinkFact("bond0", 4, "bond", in_bridge=True),
    ),
    in_front={"tap1": (), "bond0": ()},
    drops=DropsFact(None),
)


def levels(findings: Iterable[Finding]) -> list[Level]:
    return [finding.level for finding in findings]


def config_of(text: str) -> Config:
    return parse_config(text, "c.toml")


def test_a_healthy_host_has_nothing_to_mend() -> None:
    findings = judge(HEALTHY, default_config())
    assert set(levels(findings)) == {"ok"}
    assert finding_lines(findings, Style(False))[-1].startswith("nothing here would keep")


def test_what_cannot_be_seen_is_not_called_fine() -> None:
    blind = replace(HEALTHY, links=None, in_front=None)
    by_title = {finding.title: finding for finding in judge(blind, default_config())}
    assert by_title["devices"].level == "warn"
    assert by_title["in front"].level == "warn"


@pytest.mark.parametrize(
    ("release", "version"),
    [("5.10.0-28-amd64", (5, 10)), ("6.18.44", (6, 18)), ("7.2-rc1", (7, 2)), ("odd", None)],
)
def test_versions(release: str, version: tuple[int, int] | None) -> None:
    assert kernel_version(release) == version


@pytest.mark.parametrize(
    ("release", "level"),
    [
        ("4.18.0-553.el8", "fail"),
        ("5.9.16", "fail"),
        ("5.10.0", "ok"),
        ("6.1", "ok"),
        ("?", "warn"),
    ],
)
def test_release(release: str, level: Level) -> None:
    assert judge_release(release).level == level


@pytest.mark.parametrize(
    ("uid", "capabilities", "level", "words"),
    [
        (0, EVERYTHING, "ok", ""),
        (0, ADMIN | NET_ADMIN | PTRACE, "ok", ""),
        (0, BPF | PERFMON | NET_ADMIN, "warn", "CAP_SYS_PTRACE"),
        (0, BPF | NET_ADMIN, "fail", "CAP_PERFMON"),
        (0, ADMIN, "fail", "without CAP_NET_ADMIN"),
        (0, 0, "fail", "CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN"),
        (1000, 0, "warn", "uid 1000"),
        (1000, BPF | PERFMON | NET_ADMIN | PTRACE, "ok", ""),
    ],
)
def test_rights(uid: int, capabilities: int, level: Level, words: str) -> None:
    finding = judge_rights(uid, capabilities)
    assert finding.level == level
    assert words in finding.detail


@pytest.mark.parametrize(
    ("bpf_errno", "uid", "level"),
    [
        (0, 0, "ok"),
        (0, 1000, "ok"),
        (None, 0, "warn"),
        (errno.ENOSYS, 0, "fail"),
        (errno.ENOSYS, 1000, "fail"),
        (errno.EPERM, 0, "fail"),
        (errno.EPERM, 1000, "warn"),
    ],
)
def test_bpf(bpf_errno: int | None, uid: int, level: Level) -> None:
    assert judge_bpf(bpf_errno, uid).level == level


def test_jit_btf_lockdown_libbpf() -> None:
    assert [judge_jit(jit).level for jit in ("1", "2", "0", None)] == ["ok", "ok", "warn", "warn"]
    assert [judge_btf(btf).level for btf in (True, False)] == ["ok", "warn"]
    assert judge_lockdown(None).level == "ok"
    assert judge_lockdown("none [integrity] confidentiality").detail == "integrity"
    assert judge_lockdown("none integrity [confidentiality]").level == "warn"
    assert judge_libbpf(None).level == "ok"
    assert judge_libbpf("libbpf.so.1 cannot be loaded").level == "fail"


def test_bcc_is_looked_at_where_it_is_to_compile() -> None:
    assert judge_bcc(BccFact("BCC 0.26.0 of /usr/bin/python3", True)).level == "ok"
    missing = judge_bcc(BccFact("no BCC: install python3-bpfcc", False))
    assert missing.level == "fail"
    assert "libbpf" in missing.remedy
    titles = {finding.title for finding in judge(HEALTHY, default_config())}
    assert "BCC" not in titles


def test_whether_drops_can_be_traced() -> None:
    assert judge_drops(DropsFact(None), "auto").level == "ok"
    old = judge_drops(DropsFact("this kernel does not say why"), "auto")
    assert (old.level, "does not say why" in old.detail) == ("warn", True)
    assert "drops" in old.remedy
    assert judge_drops(DropsFact("this kernel does not say why"), "off").level == "ok"
    unseen = judge(replace(HEALTHY, drops=None), default_config())
    assert "drops" not in {finding.title for finding in unseen}


@pytest.mark.parametrize(
    ("release", "memlock_bytes", "level"),
    [
        ("5.10.0", 65536, "warn"),
        ("5.10.0", 64 << 20, "ok"),
        ("5.10.0", None, "ok"),
        ("5.11.0", 65536, "ok"),
    ],
)
def test_memlock(release: str, memlock_bytes: int | None, level: Level) -> None:
    assert judge_memlock(release, memlock_bytes).level == level


@pytest.mark.parametrize(
    ("supported", "mounted", "capabilities", "level"),
    [
        (True, True, 0, "ok"),
        (True, False, ADMIN, "ok"),
        (True, False, BPF, "warn"),
        (False, False, ADMIN, "fail"),
    ],
)
def test_bpffs(supported: bool, mounted: bool, capabilities: int, level: Level) -> None:
    assert judge_bpffs(PinFacts("/p", supported, mounted, False), capabilities).level == level


@pytest.mark.parametrize(
    ("attach", "release", "tcx_errno", "level", "words"),
    [
        ("auto", "6.18", 0, "ok", "tcx"),
        ("auto", "5.14.0-503.el9", 0, "ok", "tcx"),
        ("auto", "6.1", errno.EINVAL, "ok", "clsact (no tcx"),
        ("auto", "6.18", errno.EPERM, "ok", "tcx"),
        ("auto", "6.1", errno.EPERM, "ok", "clsact (no tcx"),
        ("clsact", "6.18", 0, "ok", "clsact, as configured; tcx would run before it"),
        ("clsact", "6.1", errno.EINVAL, "ok", "clsact, as configured"),
        ("tcx", "6.18", 0, "ok", "tcx"),
        ("tcx", "6.1", errno.EINVAL, "fail", "does not have"),
    ],
)
def test_attach(attach: str, release: str, tcx_errno: int, level: Level, words: str) -> None:
    finding = judge_attach(attach, release, tcx_errno)
    assert finding.level == level
    assert words in finding.detail


class TestConfiguration:
    def test_nothing_cuts_is_a_fact_and_no_fault(self) -> None:
        (finding,) = judge_config(default_config(), group_exists=True)
        assert finding == Finding("ok", "configuration", "nothing cuts: every check only counts")

    def test_what_cuts_and_for_how_long(self) -> None:
        config = config_of('[checks.bpdu]\naction = "quarantine"\n[checks.vlan]\naction = "drop"')
        cuts, hold = judge_config(config, group_exists=True)
        assert cuts.detail == "cuts: bpdu (quarantine), vlan (drop); every other check counts"
        assert hold.detail == "a quarantined port is held 5m, up to 1d"

    def test_a_group_that_is_not_there(self) -> None:
        findings = list(judge_config(default_config(), group_exists=False))
        assert findings[-1].detail == (
            "there is no group 'tapsentinel': root alone may ask and order"
        )


class TestDevices:
    LINKS = (
        LinkFact("tap1", 2, "tun", tap=True, in_bridge=True),
        LinkFact("tun0", 3, "tun"),
        LinkFact("vnet0", 4, "tun", tap=True),
        LinkFact("other", 5, "tun", tap=True),
        LinkFact("tapveth", 6, "veth", in_bridge=True),
        LinkFact("br0", 7, "bridge"),
        LinkFact("eth0", 8, "", in_bridge=True),
    )

    @pytest.mark.parametrize(
        ("text", "names"),
        [
            ("", ["tap1", "vnet0"]),
            ("[ports]\nany_kind = true", ["tap1", "vnet0", "tapveth"]),
            ("[ports]\nexclude = ['vnet*']", ["tap1"]),
            ("[ports]\nany_kind = true\nuplinks = ['tapveth']", ["tap1", "vnet0"]),
        ],
    )
    def test_ports(self, text: str, names: list[str]) -> None:
        assert [link.name for link in watched(self.LINKS, config_of(text).ports)] == names

    def test_uplinks(self) -> None:
        found = uplinks(self.LINKS, default_config().ports)
        assert [link.name for link in found] == ["tapveth", "eth0"]
        ports = config_of("[ports]\nuplinks = ['eth0']").ports
        assert [link.name for link in uplinks(self.LINKS, ports)] == ["eth0"]

    def test_no_port_matches(self) -> None:
        ports = default_config().ports
        assert judge_ports(self.LINKS, ports).detail == "2 match tap*, vnet*: tap1, vnet0"
        other = judge_ports((self.LINKS[3],), ports)
        assert (other.level, other.remedy) == ("warn", "set ports.include to their names")
        assert judge_ports((), ports).level == "warn"

    def test_ports_that_no_tap_shows(self) -> None:
        links = (
            LinkFact("ens1f0", 2, "", virtual_functions=8),
            LinkFact("macvtap0", 3, "macvtap"),
            LinkFact("mv0", 4, "macvlan"),
        )
        findings = list(judge_dark_ports(links, ("vhu1",), ("vhu1", "vhu2")))
        assert [finding.title for finding in findings] == ["vhost-user", "SR-IOV", "macvtap"]
        assert levels(findings) == ["warn"] * 3
        assert "vhu1, vhu2:" in findings[0].detail
        assert "ens1f0 (8)" in findings[1].detail
        assert "macvtap0, mv0" in findings[2].detail
        assert levels(judge_dark_ports((), (), ())) == ["ok"]

    def test_many_names_are_cut_short(self) -> None:
        (finding,) = judge_dark_ports((), tuple(f"vhu{n}" for n in range(30)), ())
        assert "and 24 more" in finding.detail

    @pytest.mark.parametrize(
        ("link", "host", "expected"),
        [
            (LinkFact("br0", 1, "bridge"), "count", []),
            (LinkFact("br0", 1, "bridge", stp=True), "count", ["warn"]),
            (LinkFact("br0", 1, "bridge", stp=True), "drop", ["ok"]),
            (LinkFact("br0", 1, "bridge", group_fwd_mask=0x4000), "count", ["ok"]),
            (LinkFact("br0", 1, "bridge", group_fwd_mask=0x4100), "count", ["warn"]),
            (LinkFact("br0", 1, "bridge", stp=True, group_fwd_mask=8), "count", ["warn", "ok"]),
        ],
    )
    def test_bridges(self, link: LinkFact, host: str, expected: list[Level]) -> None:
        assert levels(judge_bridges((link,), host)) == expected

    def test_forwarded_addresses_are_named(self) -> None:
        (finding,) = judge_bridges((LinkFact("br0", 1, "bridge", group_fwd_mask=0x4008),), "count")
        assert "03 0e (group_fwd_mask 0x4008)" in finding.detail


def test_programs_in_front() -> None:
    assert levels(judge_in_front({})) == ["ok"]
    assert levels(judge_in_front({"tap1": ()})) == ["ok"]
    (finding,) = judge_in_front({"tap1": ("cil_from_container",), "tap2": ()})
    assert finding.level == "warn"
    assert finding.detail.startswith("tap1: cil_from_container; what runs before")


@pytest.mark.parametrize(
    ("daemon", "pinned", "expected", "words"),
    [
        (DaemonFacts("answers", version="0.1.0", pid=7), True, ["ok"], "0.1.0 answers (pid 7)"),
        (DaemonFacts("answers", problems=("disk full",)), True, ["ok", "warn"], ""),
        (DaemonFacts("refused", "no right"), None, ["warn"], "no right"),
        (DaemonFacts("absent", "nobody"), True, ["warn"], "goes on guarding"),
        (DaemonFacts("absent", "nobody"), False, ["warn"], "nothing guards this host"),
        (DaemonFacts("absent", "nobody"), None, ["warn"], "nobody"),
    ],
)
def test_daemon(
    daemon: DaemonFacts, pinned: bool | None, expected: list[Level], words: str
) -> None:
    findings = list(judge_daemon(daemon, pinned))
    assert levels(findings) == expected
    assert words in findings[0].detail


def test_lines_and_json() -> None:
    findings = [
        Finding("ok", "kernel", "6.1"),
        Finding("warn", "daemon", "evil \x1b[2J", "start it"),
        Finding("fail", "libbpf", "none"),
    ]
    assert finding_lines(findings, Style(False)) == [
        "ok    kernel  6.1",
        "warn  daemon  evil \\x1b[2J -> start it",
        "FAIL  libbpf  none",
        "the guard cannot work here: 1 to be mended",
    ]
    assert finding_lines(findings[:2], Style(False))[-1] == (
        "the guard can work here; 1 to know about"
    )
    assert json.loads(findings_json(findings))[2] == {
        "level": "fail",
        "title": "libbpf",
        "detail": "none",
        "remedy": "",
    }


class TestReading:
    MOUNTS = (
        "22 1 0:21 / / rw - ext4 /dev/sda1 rw\n"
        "25 22 0:22 / /sys rw,nosuid shared:7 - sysfs sysfs rw\n"
        "30 25 0:27 / /sys/fs/bpf rw shared:9 - bpf bpf rw,mode=700\n"
        "broken line\n"
    )

    @pytest.mark.parametrize(
        ("path", "kind"),
        [
            ("/sys/fs/bpf", "bpf"),
            ("/sys/fs/bpf/tapsentinel", "bpf"),
            ("/sys/fs/bpfx", "sysfs"),
            ("/sys", "sysfs"),
            ("/var", "ext4"),
        ],
    )
    def test_mounts(self, path: str, kind: str) -> None:
        assert file_system_of(path, self.MOUNTS) == kind

    def test_a_later_mount_on_the_same_place_hides_the_earlier(self) -> None:
        again = self.MOUNTS + "31 30 0:28 / /sys/fs/bpf rw - tmpfs tmpfs rw\n"
        assert file_system_of("/sys/fs/bpf", again) == "tmpfs"

    def test_capabilities(self) -> None:
        assert capabilities_in("Name:\tx\nCapEff:\t000001ffffffffff\n") == EVERYTHING
        assert capabilities_in("") == 0

    def test_links_as_ip_lists_them(self) -> None:
        tap = {
            "ifname": "tap1",
            "ifindex": 2,
            "linkinfo": {
                "info_kind": "tun",
                "info_data": {"type": "tap"},
                "info_slave_kind": "bridge",
            },
        }
        assert link_of(tap) == LinkFact("tap1", 2, "tun", tap=True, in_bridge=True)
        bridge = {
            "ifname": "br0",
            "ifindex": 3,
            "linkinfo": {
                "info_kind": "bridge",
                "info_data": {"stp_state": 1, "group_fwd_mask": "0x4000"},
            },
        }
        assert link_of(bridge) == LinkFact("br0", 3, "bridge", stp=True, group_fwd_mask=0x4000)
        assert link_of({"ifname": "e", "vfinfo_list": [{}, {}]}).virtual_functions == 2
