# SPDX-License-Identifier: Apache-2.0
"""The steps of a host's life with the package; each says what must hold after it."""

from __future__ import annotations

import json

from tests.harness.package_host import BAD, CONFIG, GOOD, STATUS_XML, PackageHost, bpdu_of

INSTALL_AT_MOST_S = 300.0
# packaging/tapsentinel.service, TimeoutStartSec=.
COMPILED_AT_MOST_S = 600.0
# Held for longer than all of this takes.
CUTS = (
    '[checks.bpdu]\naction = "quarantine"\n[fuse]\nmax_quarantined = "100%"\n'
    '[hold]\ninitial = "10h"\n'
)
PUBLISHES = (
    '[mqtt]\nenabled = true\nhost = "127.0.0.1"\nport = 1883\ntls = false\n'
    'username_file = "mqtt.user"\nmetrics_interval = "5s"\n'
)
WATCHDOG_S = 30
FLOODED = 500
"""BPDUs that must have been sent while something happened."""
# What stands in the way, whichever comes first: a read-only file system, the filter of
# system calls, a missing capability, a family or a file that is not there.
REFUSED = {"EROFS", "EPERM", "EACCES", "EAFNOSUPPORT", "ENOENT", "ENXIO", "ENODEV"}
PROGRAMS = (
    "import ctypes, struct\n"
    "libc = ctypes.CDLL(None); at = 0; names = []\n"
    "while True:\n"
    "    wanted = ctypes.create_string_buffer(struct.pack('=II', at, 0).ljust(72, b'\\0'))\n"
    "    if libc.syscall(321, 11, wanted, ctypes.c_long(72)) != 0: break\n"
    "    at = struct.unpack_from('=II', wanted)[1]\n"
    "    wanted = ctypes.create_string_buffer(struct.pack('=I', at).ljust(72, b'\\0'))\n"
    "    fd = libc.syscall(321, 13, wanted, ctypes.c_long(72))\n"
    "    info = ctypes.create_string_buffer(256)\n"
    "    wanted = ctypes.create_string_buffer(\n"
    "        struct.pack('=IIQ', fd, 256, ctypes.addressof(info)).ljust(72, b'\\0'))\n"
    "    libc.syscall(321, 15, wanted, ctypes.c_long(72))\n"
    "    names.append(info.raw[64:80].split(b'\\0')[0].decode())\n"
    "print(' '.join(name for name in names if name.startswith(('tap_', 'uplink_', 'drop_'))))\n"
)
"""Names of our programs in the kernel, by BPF_PROG_GET_NEXT_ID and so on (linux/bpf.h)."""


def install(host: PackageHost) -> None:
    """One package and no network: it runs, at most as exposed as it should be."""
    host.host.run("systemctl is-system-running --wait", check=False, timeout_s=300)
    host.host.mount_share()
    host.host.write("/usr/local/lib/programs.py", PROGRAMS)
    assert _programs(host) == []
    host.host.run(
        "DEBIAN_FRONTEND=noninteractive dpkg -i /mnt/tapsentinel_first_amd64.deb",
        timeout_s=INSTALL_AT_MOST_S,
    )
    host.wait_active()
    assert {"tap_from_guest", "drop_seen"} <= set(_programs(host))
    assert host.host.run("systemctl is-enabled tapsentinel").strip() == "enabled"
    for unit, at_most in (("tapsentinel", 15), ("tapsentinel-mqtt", 10)):
        host.host.run(f"systemd-analyze security --threshold={at_most} {unit}")


def what_counts_lets_pass(host: PackageHost) -> None:
    """Out of the box nothing is cut: a BPDU leaves the host, which shows that it is seen."""
    host.prepare()
    host.host.run("systemctl start host-bridge libvirtd")
    host.host.wait_for(f"test -p /run/{BAD}.orders -a -p /run/{GOOD}.orders")
    host.host.wait_for(f"tapsentinel show {BAD}")
    assert host.is_open(BAD)
    host.order(BAD, f"send {bpdu_of(BAD).hex()}")
    assert host.is_open(GOOD)
    assert host.on_wire()[f"bpdu {BAD}"] >= 1


def reboot_guarded_before_the_first_tap(host: PackageHost) -> None:
    """The daemon is up before whatever makes taps begins."""
    host.configure(CUTS)
    host.host.run(f"tapsentinel config check {CONFIG}")
    # Soon, so that the step after next is.
    drop_in = f"[Service]\nWatchdogSec={WATCHDOG_S}s\n"
    host.host.write("/etc/systemd/system/tapsentinel.service.d/watchdog.conf", drop_in)
    host.host.run("systemctl stop libvirtd")
    host.bpdus_before = host.bpdus()
    host.host.reboot()
    host.host.wait_for(f"test -s /run/{BAD}.sent -a -p /run/{GOOD}.orders", timeout_s=300)
    assert host.host.run("cat /run/before-first-tap").strip() == "active"


def a_guest_s_bpdu_dies(host: PackageHost) -> None:
    """The first one, sent with the tap's first breath; its neighbour works on."""
    host.host.wait_for(f"tapsentinel show {BAD}")
    assert host.port(BAD)["state"] == "quarantined"
    assert not host.is_open(BAD)
    assert host.is_open(GOOD)
    host.nothing_leaked()
    log = host.host.run(
        "journalctl --sync; journalctl -b -o json -u tapsentinel -p warning "
        f"TAPSENTINEL_PORT={BAD} TAPSENTINEL_TYPE=quarantine.set"
    )
    assert json.loads(log.splitlines()[0])["TAPSENTINEL_CAUSE"] == "bpdu"


def killed_and_back(host: PackageHost) -> None:
    """kill -9: systemd starts it again, and nothing passes meanwhile."""
    pid = host.pid()
    with host.flooded(FLOODED):
        host.host.run(f"kill -9 {pid}")
        host.wait_active(not_pid=pid)
    assert host.port(BAD)["state"] == "quarantined"


def hung_and_replaced(host: PackageHost) -> None:
    """A daemon that hangs is ended by its watchdog."""
    pid = host.pid()
    with host.flooded(FLOODED):
        host.host.run(f"kill -STOP {pid}")
        host.wait_active(not_pid=pid)
    assert "atchdog" in host.host.run("journalctl -b -u tapsentinel | grep -i 'watchdog timeout'")


def a_wrong_file_changes_nothing(host: PackageHost) -> None:
    """A reload says what is wrong and leaves what was; a right one is taken."""
    pid = host.pid()
    host.configure(CUTS.replace("quarantine", "quarentine", 1))
    status, told = host.host.ask("systemctl reload tapsentinel")
    log = host.host.run("journalctl -b -u tapsentinel -n 20")
    assert status != 0, f"{told}\n{log}"
    assert "checks.bpdu.action" in log
    with host.flooded(FLOODED):
        assert host.host.run("systemctl is-active tapsentinel").strip() == "active"
    host.configure(CUTS.replace("10h", "11h"))
    host.host.run("systemctl reload tapsentinel")
    assert host.pid() == pid


def the_sandbox_of_the_daemon(host: PackageHost) -> None:
    """What it need not do fails, tried in a unit with the same lines."""
    found = _probed(host, "tapsentinel", "/var/lib/tapsentinel /sys/fs/bpf/tapsentinel")
    allowed = {"unix socket", "netlink socket", "bpf"}
    allowed |= {"write /var/lib/tapsentinel", "write /sys/fs/bpf/tapsentinel"}
    # A bpffs holds no files.
    found["write /sys/fs/bpf/tapsentinel"] = "done"
    _judge(found, allowed)
    assert "NoNewPrivs:\t1" in host.host.run(f"cat /proc/{host.pid()}/status")


def everything_works_in_it(host: PackageHost) -> None:
    """Who is who, the losses, orders: what the daemon reads and writes, it can."""
    host.host.run("mkdir -p /run/libvirt/qemu")
    host.host.write("/run/libvirt/qemu/instance-9.xml", STATUS_XML, "600")
    host.host.wait_for(f"tapsentinel show {GOOD} | grep instance-9")
    host.host.run(f"tapsentinel quarantine {GOOD} --for 1h --reason test")
    assert not host.is_open(GOOD)
    host.host.run(f"tapsentinel release {GOOD} --reason test")
    assert host.is_open(GOOD)
    assert any(one["port"] == BAD for one in host.json("incidents"))
    assert host.json("audit")["drops"] == {"state": "on", "why": ""}
    log = host.host.run("journalctl -b -u tapsentinel")
    assert "Traceback" not in log
    # AUDIT_SECCOMP (linux/audit.h): what a filter refused or killed for.
    assert "type=1326" not in host.host.run("journalctl -b -k")


def a_vm_is_named_by_its_process(host: PackageHost) -> None:
    """Where neither libvirt nor a switch tells, with the rights that only this takes."""
    drop_in = "/etc/systemd/system/tapsentinel.service.d/processes.conf"
    assert host.port(BAD)["vm"]["source"] == "unknown"
    # From the package: this host, as some do, leaves documents out when it installs one.
    host.host.run(
        "dpkg-deb --fsys-tarfile /mnt/tapsentinel_first_amd64.deb | "
        f"tar -xO ./usr/share/doc/tapsentinel/examples/processes.conf >{drop_in} && "
        "systemctl daemon-reload && systemctl restart tapsentinel"
    )
    host.host.wait_for(f"tapsentinel show {BAD} --json | grep fdinfo")
    assert host.port(BAD)["state"] == "quarantined"
    host.host.run(f"rm {drop_in}; systemctl daemon-reload; systemctl restart tapsentinel")


def the_other_loader_takes_over(host: PackageHost) -> None:
    """Compiled in the daemon's sandbox, then the package's objects again: nothing leaks."""
    for loader in ("bcc", "libbpf"):
        pid, cut = host.pid(), host.port(BAD)
        host.configure(f'{CUTS}[kernel]\nloader = "{loader}"\n')
        with host.flooded(FLOODED):
            host.host.run("systemctl restart tapsentinel", timeout_s=COMPILED_AT_MOST_S)
            host.wait_active(not_pid=pid)
        assert host.json("status")["loader"] == loader
        now = host.port(BAD)
        assert now["state"] == "quarantined"
        assert now["quarantine"]["since_wall_ns"] == cut["quarantine"]["since_wall_ns"]
    assert "type=1326" not in host.host.run("journalctl -b -k")
    host.host.run("ls /var/lib/tapsentinel/compiled/*.json")


def the_publisher_publishes(host: PackageHost) -> None:
    """In its unit, with a credential, against a broker."""
    host.host.write("/etc/tapsentinel/mqtt.user", "compute-1\n", "600")
    drop_in = "[Service]\nLoadCredential=mqtt.user:/etc/tapsentinel/mqtt.user\n"
    host.host.write("/etc/systemd/system/tapsentinel-mqtt.service.d/credentials.conf", drop_in)
    host.configure(CUTS + PUBLISHES)
    host.host.run(
        "systemctl daemon-reload; systemctl unmask mosquitto; systemctl start mosquitto; "
        "systemctl start tapsentinel-mqtt"
    )
    host.host.run(
        "cd /usr/lib/tapsentinel && PYTHONDONTWRITEBYTECODE=1 timeout 100 /usr/bin/python3 -c "
        "\"import paho.mqtt.subscribe as s; print(s.simple('tapsentinel/compute-1/metrics'))\""
    )
    status = host.host.run(f"cat /proc/{host.wait_active('tapsentinel-mqtt')}/status")
    assert "CapBnd:\t0000000000000000" in status
    assert "Uid:\t0\t" not in status


def the_sandbox_of_the_publisher(host: PackageHost) -> None:
    """No BPF, no raw socket, nothing of the daemon's."""
    found = _probed(host, "tapsentinel-mqtt", "/var/lib/tapsentinel-mqtt /var/lib/tapsentinel")
    _judge(found, {"unix socket", "tcp socket", "write /var/lib/tapsentinel-mqtt"})


def upgraded_under_a_flood(host: PackageHost) -> None:
    """A newer build, programs and all: nothing leaks, and who is cut stays cut."""
    _replace(host, "tapsentinel_newer_amd64.deb")


def downgraded_under_a_flood(host: PackageHost) -> None:
    """And back."""
    _replace(host, "tapsentinel_first_amd64.deb")


def purged(host: PackageHost) -> None:
    """No program, no pin, no user, no file; the guest's frames pass again."""
    host.host.run("systemctl stop mosquitto")
    host.host.run("DEBIAN_FRONTEND=noninteractive dpkg --purge tapsentinel", timeout_s=240)
    assert _programs(host) == []
    host.host.run("! test -e /sys/fs/bpf/tapsentinel")
    host.host.run("! getent passwd | grep tapsentinel; ! getent group | grep tapsentinel")
    left = host.host.run(
        "find / /run -xdev \\( -path /proc -o -path /sys -o -path /mnt -o -path /var/log \\) "
        "-prune -o -name '*tapsentinel*' -print"
    )
    # What the test wrote beside the package's own.
    ours = {f"/etc/systemd/system/tapsentinel{unit}.service.d" for unit in ("", "-mqtt")}
    assert {line for line in left.split() if not line.startswith("/run/systemd/")} <= ours
    assert host.is_open(BAD)


def _replace(host: PackageHost, package: str) -> None:
    pid = host.pid()
    cut = host.port(BAD)
    with host.flooded(FLOODED):
        host.host.run(
            f"DEBIAN_FRONTEND=noninteractive dpkg -i --force-confold /mnt/{package}",
            timeout_s=INSTALL_AT_MOST_S,
        )
        host.wait_active(not_pid=pid)
    now = host.port(BAD)
    assert now["state"] == "quarantined"
    assert now["quarantine"]["since_wall_ns"] == cut["quarantine"]["since_wall_ns"]
    assert not host.is_open(BAD)


def _programs(host: PackageHost) -> list[str]:
    return host.host.run("/usr/bin/python3 /usr/local/lib/programs.py").split()


def _probed(host: PackageHost, unit: str, folders: str) -> dict[str, str]:
    """What a probe in a unit with the lines of `unit` came to."""
    # Not the runtime directory: it would go with the probe, and the daemon's socket with it.
    host.host.run(
        "cp /mnt/host_probe.py /usr/local/lib/ && "
        f"systemctl cat {unit} | sed -E "
        "'/^(Exec[A-Za-z]*|Runtime[A-Za-z]*|Restart[A-Za-z]*|Type|Watchdog[A-Za-z]*)=/d' "
        "| sed '0,/^.Service.$/s,^.Service.$,&\\nType=oneshot\\nExecStart=/usr/bin/python3 "
        f"/usr/local/lib/host_probe.py {folders}\\n,' >/run/systemd/system/probe.service; "
        "systemctl daemon-reload; systemctl start probe"
    )
    told = host.host.run("journalctl --sync; journalctl -b -u probe -o cat | grep '^{' | tail -n 1")
    found: dict[str, str] = json.loads(told)
    return found


def _judge(found: dict[str, str], allowed: set[str]) -> None:
    wrong = {
        name: came
        for name, came in found.items()
        if (came != "done" if name in allowed else came not in REFUSED)
    }
    assert wrong == {}
