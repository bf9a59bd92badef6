# SPDX-License-Identifier: Apache-2.0
"""A compute host that gets the package: its bridge, its stand-in for libvirt, its orders."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

from tests.harness.frames import BRIDGE_GROUP, Bpdu, bpdu, ethernet, mac_bytes
from tests.harness.systemd_host import SystemdHost
from tests.harness.waiting import wait_until

BAD, GOOD = "tapbad", "tapgood"
MACS = {BAD: "52:54:00:00:00:0b", GOOD: "52:54:00:00:00:09"}
UUID = "6a8e4d5e-2f1a-4c46-9d51-3a0b6c1f7e22"
# IEEE 802: for experiments on the local network.
ETHERTYPE_LOCAL = 0x88B5
CONFIG = "/etc/tapsentinel/tapsentinel.toml"
NETWORK_UNIT = """\
[Unit]
Description=The bridge of the host
DefaultDependencies=no
After=systemd-udev-settle.service sys-subsystem-net-devices-eth0.device
Wants=sys-subsystem-net-devices-eth0.device
Before=network.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c 'ip link add br0 type bridge; \
for i in br0 eth0; do echo 1 >/proc/sys/net/ipv6/conf/$$i/disable_ipv6; done; \
ip link set eth0 master br0 up; ip link set br0 up'
[Install]
WantedBy=multi-user.target
"""
# Named as libvirt's: it is that name which our unit is ordered before.
LIBVIRT_UNIT = """\
[Unit]
Description=Makes the first taps
After=host-bridge.service
[Service]
ExecStartPre=/bin/sh -c 'systemctl show -p ActiveState --value tapsentinel >/run/before-first-tap'
ExecStart=/bin/sh -c '/usr/bin/python3 /usr/local/lib/host_port.py {good} br0 /run/{good}.orders \
/run/{good}.sent & exec /usr/bin/python3 /usr/local/lib/host_port.py {bad} br0 \
/run/{bad}.orders /run/{bad}.sent {first}'
[Install]
WantedBy=multi-user.target
"""
STATUS_XML = (
    "<domstatus state='running' pid='1'><domain type='kvm'><name>instance-9</name>"
    f"<uuid>{UUID}</uuid><devices><interface type='bridge'><mac address='{MACS[GOOD]}'/>"
    f"<target dev='{GOOD}'/></interface></devices></domain></domstatus>"
)


def bpdu_of(tap: str) -> bytes:
    """What a guest with a bridge sends."""
    return bpdu(Bpdu.RSTP, MACS[tap])


def hello_of(tap: str, number: int) -> bytes:
    """A frame that no check minds, by which a port shows that it is open."""
    payload = f"hello {number}".encode().ljust(46, b"\0")
    return ethernet("ff:ff:ff:ff:ff:ff", MACS[tap], payload, ethertype=ETHERTYPE_LOCAL)


class PackageHost:
    """What a story asks of one host."""

    def __init__(self, host: SystemdHost) -> None:
        self.host = host
        self._hellos = 0
        self.bpdus_before = 0

    def bpdus(self) -> int:
        """Guests' BPDUs that have left the machine so far."""
        return sum(count for what, count in self.on_wire().items() if what.startswith("bpdu tap"))

    def nothing_leaked(self) -> None:
        """No BPDU left since `bpdus_before` was noted."""
        assert self.bpdus() == self.bpdus_before

    @contextlib.contextmanager
    def flooded(self, at_least: int) -> Iterator[None]:
        """While it lasts BAD sends BPDUs, `at_least` so many, and none gets out."""
        before = self.sent(BAD)
        self.order(BAD, f"flood {bpdu_of(BAD).hex()}")
        yield
        self.host.wait_for(f"test $(cat /run/{BAD}.sent) -ge {before + at_least}")
        self.order(BAD, "stop")
        assert self.is_open(GOOD)
        self.nothing_leaked()

    def prepare(self) -> None:
        """Make the bridge and the stand-in for libvirt, and start them as a boot would."""
        first = f"{hello_of(BAD, 0).hex()} {bpdu_of(BAD).hex()}"
        units = "/etc/systemd/system"
        self.host.write(f"{units}/host-bridge.service", NETWORK_UNIT)
        text = LIBVIRT_UNIT.format(good=GOOD, bad=BAD, first=first)
        self.host.write(f"{units}/libvirtd.service", text)
        self.host.run("mkdir -p /usr/local/lib && cp /mnt/host_*.py /usr/local/lib")
        self.host.run("systemctl daemon-reload && systemctl enable host-bridge libvirtd")

    def order(self, tap: str, order: str) -> None:
        """Have a guest send."""
        self.host.run(f"echo '{order}' >/run/{tap}.orders")

    def sent(self, tap: str) -> int:
        """How many frames a guest got rid of since the boot."""
        return int(self.host.run(f"cat /run/{tap}.sent") or "0")

    def on_wire(self) -> Counter[str]:
        """Frames that left the machine, by what they are and from which tap."""
        by_mac = {mac_bytes(mac): tap for tap, mac in MACS.items()}
        seen: Counter[str] = Counter()
        for frame in self.host.wire():
            what = "bpdu" if frame[:6] == mac_bytes(BRIDGE_GROUP) else "hello"
            seen[f"{what} {by_mac.get(frame[6:12], 'another')}"] += 1
        return seen

    def is_open(self, tap: str) -> bool:
        """Whether a frame that no check minds leaves the machine from this tap."""
        self._hellos += 1
        frame = hello_of(tap, self._hellos)
        before = self.sent(tap)
        self.order(tap, f"send {frame.hex()}")
        self.host.wait_for(f"test $(cat /run/{tap}.sent) -gt {before}")
        # Behind it one of the host's own, which nothing cuts: once that is out, what did
        # not come before it does not come any more.
        marker = ethernet(
            "ff:ff:ff:ff:ff:ff", "02:00:00:00:00:01", frame[14:], ethertype=ETHERTYPE_LOCAL
        )
        self.host.run(
            '/usr/bin/python3 -c "import socket; s = socket.socket(socket.AF_PACKET, '
            f"socket.SOCK_RAW); s.bind(('br0', 0)); s.send(bytes.fromhex('{marker.hex()}'))\""
        )
        wait_until(lambda: marker in self.host.wire(), 30, "the host's own frame on the wire", 0.1)
        return frame in self.host.wire()

    def pid(self, unit: str = "tapsentinel") -> int:
        """The main process; 0: none."""
        return int(self.host.run(f"systemctl show -p MainPID --value {unit}"))

    def wait_active(self, unit: str = "tapsentinel", not_pid: int = 0) -> int:
        """Wait until the unit is up, as another process than `not_pid`; its pid."""
        told = self.host.wait_for(
            # All in one answer: the process may end between two.
            f'(eval "$(systemctl show -p ActiveState -p MainPID {unit})"; '
            f"test $ActiveState = active -a $MainPID != {not_pid} && echo $MainPID)",
            timeout_s=240,
        )
        return int(told)

    def json(self, *words: str) -> Any:
        """What `tapsentinel WORDS --json` says."""
        return json.loads(self.host.run(f"tapsentinel {' '.join(words)} --json 2>/dev/null"))

    def port(self, name: str) -> dict[str, Any]:
        """One of `tapsentinel ports`. Raises KeyError."""
        for port in self.json("ports"):
            if port["name"] == name:
                found: dict[str, Any] = port
                return found
        raise KeyError(name)

    def configure(self, text: str) -> None:
        """Write the whole configuration."""
        self.host.write(CONFIG, text)
