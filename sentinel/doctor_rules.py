# SPDX-License-Identifier: Apache-2.0
"""What on a host would keep the guard from working: facts in, findings out.

Pure. A `fail` keeps the guard from working at all; a `warn` is something that it
does not see, cannot promise or that somebody should know at night. What could
not be looked at is said to be so, and is never called fine.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Final

from sentinel.config import Config, PortsConfig
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
)
from sentinel.doctor_types import DaemonFacts, Finding, HostFacts, LinkFact
from sentinel.durations import format_duration

# Bits of group_fwd_mask (IEEE 802.1Q table 8-1: the last digit of 01:80:c2:00:00:0x).
_PROVIDER_BPDU_BIT: Final = 8
_SHOWN_NAMES: Final = 6


def judge(facts: HostFacts, config: Config) -> list[Finding]:
    """All findings, in the order in which the guard needs things."""
    kernel = facts.kernel
    findings = [
        judge_release(kernel.release),
        judge_rights(kernel.uid, kernel.capabilities),
        judge_bpf(kernel.bpf_errno, kernel.uid),
        judge_jit(kernel.jit),
        judge_btf(kernel.btf),
        judge_lockdown(kernel.lockdown),
        judge_memlock(kernel.release, kernel.memlock_bytes),
        judge_bpffs(facts.pins, kernel.capabilities),
        judge_attach(config.kernel.attach, kernel.release, kernel.tcx_errno),
        judge_libbpf(facts.libbpf_problem),
        *([judge_bcc(facts.bcc)] if facts.bcc else []),
        *([judge_drops(facts.drops, config.kernel.drops)] if facts.drops else []),
        *judge_config(config, facts.group_exists),
    ]
    if facts.links is None:
        findings.append(
            Finding(
                "warn", "devices", "could not be listed", "install iproute2, whose `ip` lists them"
            )
        )
    else:
        findings.append(judge_ports(facts.links, config.ports))
        findings += judge_dark_ports(facts.links, facts.vhost_sockets, facts.dpdk_ports)
        findings += judge_bridges(facts.links, config.checks.bpdu.host)
    findings += judge_in_front(facts.in_front)
    findings += judge_daemon(facts.daemon, facts.pins.pinned)
    return findings


def watched(links: tuple[LinkFact, ...], ports: PortsConfig) -> list[LinkFact]:
    """The devices that the configuration's patterns take as ports."""
    return [
        link
        for link in links
        if (link.tap or (ports.any_kind and link.kind not in ("bridge", "bond")))
        and any(fnmatchcase(link.name, pattern) for pattern in ports.include)
        and not any(fnmatchcase(link.name, pattern) for pattern in ports.exclude)
        and link.name not in ports.uplinks
    ]


def judge_config(config: Config, group_exists: bool) -> Iterator[Finding]:
    """What a configuration that is right amounts to."""
    checks = config.checks
    cuts = {
        name: policy.action
        for name in checks.__struct_fields__
        if (policy := checks.policy(name)).action != "count"
    }
    if cuts:
        text = ", ".join(f"{name} ({action})" for name, action in cuts.items())
        yield Finding("ok", "configuration", f"cuts: {text}; every other check counts")
    else:
        yield Finding("ok", "configuration", "nothing cuts: every check only counts")
    if "quarantine" in cuts.values():
        hold = config.hold
        held = (
            f"{format_duration(hold.initial_ns)}, up to {format_duration(hold.max_ns)}"
            if hold.auto_release
            else "until somebody releases it"
        )
        yield Finding("ok", "hold", f"a quarantined port is held {held}")
    if not group_exists:
        group = config.control.group
        yield Finding("ok", "control", f"there is no group {group!r}: root alone may ask and order")


def uplinks(links: tuple[LinkFact, ...], ports: PortsConfig) -> list[LinkFact]:
    """The configured uplinks, or the members of bridges that are no ports."""
    if ports.uplinks:
        return [link for link in links if link.name in ports.uplinks]
    mine = watched(links, ports)
    return [link for link in links if link.in_bridge and link.kind != "bridge" and link not in mine]


def judge_ports(links: tuple[LinkFact, ...], ports: PortsConfig) -> Finding:
    """Does anything match?"""
    mine = watched(links, ports)
    patterns = ", ".join(ports.include)
    if mine:
        return Finding("ok", "ports", f"{len(mine)} match {patterns}: {_names(mine)}")
    taps = [link for link in links if link.tap]
    if taps:
        return Finding(
            "warn",
            "ports",
            f"no device matches {patterns}, but there are taps: {_names(taps)}",
            "set ports.include to their names",
        )
    kind = "device" if ports.any_kind else "tap"
    return Finding("warn", "ports", f"no {kind} matches {patterns} now; new ones are followed")


def judge_dark_ports(
    links: tuple[LinkFact, ...], vhost_sockets: tuple[str, ...], dpdk_ports: tuple[str, ...]
) -> Iterator[Finding]:
    """Guests whose frames pass by every tap."""
    unseen = "nothing here sees or stops their frames"
    elsewhere = "guard them at the switch"
    users = sorted({*vhost_sockets, *dpdk_ports})
    if users:
        yield Finding(
            "warn", "vhost-user", f"{_listed(users)}: {unseen}", f"{elsewhere} or in Open vSwitch"
        )
    functions = [link for link in links if link.virtual_functions]
    if functions:
        text = _listed([f"{link.name} ({link.virtual_functions})" for link in functions])
        yield Finding(
            "warn", "SR-IOV", f"virtual functions of {text}: {unseen}", f"{elsewhere} or in the NIC"
        )
    macvtaps = [link for link in links if link.kind in ("macvtap", "macvlan", "ipvtap")]
    if macvtaps:
        yield Finding(
            "warn",
            "macvtap",
            f"{_names(macvtaps)}: reach the wire beside the bridge, and are not watched",
            f"use taps, or {elsewhere}",
        )
    if not users and not functions and not macvtaps:
        yield Finding("ok", "unseen ports", "no vhost-user, SR-IOV, macvtap or macvlan")


def judge_bridges(links: tuple[LinkFact, ...], host_bpdu: str) -> Iterator[Finding]:
    """Bridges that speak spanning tree themselves, or forward what others keep back."""
    speaking = [link for link in links if link.kind == "bridge" and link.stp]
    if speaking and host_bpdu == "drop":
        yield Finding(
            "ok", "bridges", f"spanning tree is on at {_names(speaking)}; its BPDUs are dropped"
        )
    elif speaking:
        yield Finding(
            "warn",
            "bridges",
            f"spanning tree is on at {_names(speaking)}: the host itself sends BPDUs, "
            "which are let through and may trip the switch",
            'switch it off (ip link set dev BRIDGE type bridge stp_state 0), or set host = "drop" '
            "in [checks.bpdu]",
        )
    for link in links:
        if link.kind != "bridge" or not link.group_fwd_mask:
            continue
        mask = link.group_fwd_mask
        digits = " ".join(f"0{bit:x}" for bit in range(16) if mask >> bit & 1)
        detail = f"{link.name} forwards 01:80:c2:00:00:… {digits} (group_fwd_mask {mask:#x})"
        if mask >> _PROVIDER_BPDU_BIT & 1:
            yield Finding(
                "warn",
                "bridges",
                f"{detail}: provider-bridge BPDUs are among them",
                f"clear bit {_PROVIDER_BPDU_BIT}, unless they are meant to pass",
            )
        else:
            yield Finding("ok", "bridges", detail)


def judge_in_front(in_front: Mapping[str, tuple[str, ...]] | None) -> Iterator[Finding]:
    """Programs that decide on a frame before the guard's do."""
    if in_front is None:
        yield Finding(
            "warn",
            "in front",
            "programs in front of the guard's were not looked for",
            "run doctor as root, with libbpf and the extension in place",
        )
        return
    for device, programs in in_front.items():
        if programs:
            yield Finding(
                "warn",
                "in front",
                f"{device}: {_listed(list(programs))}; what runs before the guard may consume or "
                "redirect frames that it then never sees",
                "let it return TCX_NEXT (clsact: TC_ACT_UNSPEC), or attach it behind",
            )
    if not any(in_front.values()):
        yield Finding("ok", "in front", "no program runs before the guard's")


def judge_daemon(daemon: DaemonFacts, pinned: bool | None) -> Iterator[Finding]:
    """Is one there, and is it well?"""
    if daemon.state == "answers":
        yield Finding("ok", "daemon", f"{daemon.version} answers (pid {daemon.pid})")
        for problem in daemon.problems:
            yield Finding("warn", "daemon", problem, "see `tapsentinel status`")
        return
    if daemon.state == "refused":
        yield Finding("warn", "daemon", daemon.message, "run doctor as root or as its group")
        return
    if pinned:
        guarding = "; what is pinned in the kernel goes on guarding"
    elif pinned is None:
        guarding = ""
    else:
        guarding = ", and nothing is pinned: nothing guards this host"
    yield Finding(
        "warn",
        "daemon",
        f"{daemon.message}{guarding}",
        "systemctl start tapsentinel, or `tapsentinel daemon`",
    )


def _names(links: list[LinkFact]) -> str:
    return _listed([link.name for link in links])


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:_SHOWN_NAMES])
    more = len(names) - _SHOWN_NAMES
    return f"{shown} and {more} more" if more > 0 else shown
