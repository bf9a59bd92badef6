# SPDX-License-Identifier: Apache-2.0
"""What may befall a lease, produced for real: lost replies, a deaf guest, a squatter."""

from __future__ import annotations

import contextlib
import json
import select
import socket
import subprocess
import threading

from tests.harness import native
from tests.harness.closing import Closing
from tests.harness.frames import mac_bytes, mac_text
from tests.harness.hosts import Host
from tests.harness.namespaces import Namespace
from tests.harness.packets import ETHERTYPE_ARP, arp

ARP_REQUEST = 1


class RepliesDropped(Closing):
    """The bridge forwards no server's reply to a device any more.

    By nftables, where a bridge forwards: the uplink's program has seen the reply,
    the tap's is never asked. `family` is 4 or 6.
    """

    def __init__(self, netns: Namespace, device: str, family: int = 4) -> None:
        self._netns = netns
        self._table = f"lost-{device}-{family}"
        protocol, port = ("ip", 67) if family == 4 else ("ip6", 547)
        rule = f"ether type {protocol} udp sport {port} counter drop"
        netns.run(
            ["nft", "-f", "-"],
            stdin=f"table bridge {self._table} {{ chain forward {{ "
            f'type filter hook forward priority 0; oifname "{device}" {rule}; }}; }}\n',
        )

    @property
    def dropped(self) -> int:
        """Replies that were dropped so far."""
        shown = self._netns.run(["nft", "--json", "list", "table", "bridge", self._table])
        for part in json.loads(shown.stdout)["nftables"]:
            for expression in part.get("rule", {}).get("expr", []):
                if "counter" in expression:
                    return int(expression["counter"]["packets"])
        raise LookupError(f"no counter in {shown.stdout}")

    def close(self) -> None:
        """Let them pass again; may be called again."""
        self._netns.run(["nft", "delete", "table", "bridge", self._table], check=False)


class Deaf(Closing):
    """A guest that drains its queue, and to which no server's word gets through.

    As with a packet filter inside it, or a client that went wrong.
    """

    def __init__(self, host: Host) -> None:
        self._host = host
        program = native.bpf_object("deaf")
        host.netns.ip(f"link set dev {host.device} xdpgeneric object {program} section xdp")

    def close(self) -> None:
        """Let it hear again; may be called again."""
        with contextlib.suppress(subprocess.CalledProcessError):
            self._host.netns.ip(f"link set dev {self._host.device} xdpgeneric off")


class Squatter(Closing):
    """Answers every ARP request for an address, from a device that has another."""

    def __init__(self, host: Host, address: str) -> None:
        self.answered = 0
        self._mac, self._address = host.mac, address
        self._ending = threading.Event()
        with host.netns.enter():
            self._socket = socket.socket(
                socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETHERTYPE_ARP)
            )
            self._socket.bind((host.device, ETHERTYPE_ARP))
        self._thread = threading.Thread(target=self._answer, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Be silent; may be called again."""
        self._ending.set()
        self._thread.join()
        self._socket.close()

    def _answer(self) -> None:
        wanted = socket.inet_aton(self._address)
        while not self._ending.is_set():
            if not select.select([self._socket], [], [], 0.05)[0]:
                continue
            frame = self._socket.recv(2048)
            asks = int.from_bytes(frame[20:22]) == ARP_REQUEST and frame[38:42] == wanted
            asker = mac_text(frame[6:12])
            if asks and mac_bytes(asker) != mac_bytes(self._mac):
                asker_address = socket.inet_ntoa(frame[28:32])
                self._socket.send(arp(self._mac, self._address, asker_address, dst_mac=asker))
                self.answered += 1
