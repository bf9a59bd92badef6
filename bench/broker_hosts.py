# SPDX-License-Identifier: Apache-2.0
"""What one mosquitto needs for many hosts; writes it into docs/operations.md.

    python -m bench.broker_hosts [HOSTS] [PORTS]

Each simulated host is a connection with TLS and a client certificate that leaves what a
publisher leaves: birth and will, a state for each port, and then an event each second or
so. Packets are written by hand: a thousand real publishers would measure this machine.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
import time

from bench.operations import write_measured
from sentinel.mqtt import documents, topics
from tests.harness.broker import LOOPBACK, Mosquitto
from tests.harness.canned_control import port

EVENTS_S = 30
PUBACK = 0x40


def text(value: str) -> bytes:
    raw = value.encode()
    return len(raw).to_bytes(2, "big") + raw


def packet(kind: int, body: bytes) -> bytes:
    """A control packet (MQTT 3.1.1 §2.2)."""
    length, head = len(body), bytes([kind])
    while True:
        head += bytes([(length & 0x7F) | (0x80 if length > 0x7F else 0)])
        length >>= 7
        if not length:
            return head + body


def connect(host: str) -> bytes:
    will = json.dumps({"host": host, "state": "offline"})
    flags = 0x02 | 0x04 | 0x08 | 0x20
    return packet(
        0x10,
        text("MQTT") + bytes([4, flags, 0, 120]) + text(host) + text(topics.status(host))
        + text(will),
    )  # fmt: skip


def publish(topic: str, payload: bytes, mid: int, *, retain: bool) -> bytes:
    return packet(0x32 | retain, text(topic) + mid.to_bytes(2, "big") + payload)


class Host:
    """One connection."""

    def __init__(self, name: str, ports: int) -> None:
        self.name = name
        self.acknowledged = 0
        self.slowest_s = 0.0
        self._mid = 0
        self._ports = ports

    async def begin(self, port_number: int, context: ssl.SSLContext) -> None:
        self._reader, self._writer = await asyncio.open_connection(
            LOOPBACK, port_number, ssl=context
        )
        self._writer.write(connect(self.name))
        await self._reader.readexactly(4)
        await self.say(topics.status(self.name), b'{"state":"online"}', retain=True)
        for number in range(self._ports):
            one = port(f"tap{number}", number, mac="fa:16:3e:24:e7:22", bridge="br-int")
            state = json.dumps(documents.port_document(self.name, one)).encode()
            await self.say(topics.port(self.name, f"tap{number}"), state, retain=True)

    async def say(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        self._mid = self._mid % 60_000 + 1
        began = time.monotonic()
        self._writer.write(publish(topic, payload, self._mid, retain=retain))
        answer = await self._reader.readexactly(4)
        if answer[0] != PUBACK:
            raise RuntimeError(f"{self.name}: the broker said {answer!r}")
        self.acknowledged += 1
        self.slowest_s = max(self.slowest_s, time.monotonic() - began)

    async def tell(self, until: float) -> None:
        """An event a second."""
        topic = topics.event(self.name, "incident.updated")
        await asyncio.sleep(hash(self.name) % 1000 / 1000)
        while time.monotonic() < until:
            await self.say(topic, bytes(1000))
            await asyncio.sleep(1)

    def end(self) -> None:
        self._writer.transport.abort()


async def measure(broker: Mosquitto, hosts: int, ports: int) -> list[str]:
    """The lines of a table."""
    context = ssl.create_default_context(cafile=str(broker.authority.certificate))
    context.load_cert_chain(*map(str, broker.listener))
    empty = broker.memory_bytes()
    all_hosts = [Host(f"hv-{number}", ports) for number in range(hosts)]
    at_once = asyncio.Semaphore(50)

    async def begin(host: Host) -> None:
        async with at_once:
            await host.begin(broker.port, context)

    began, cpu = time.monotonic(), broker.cpu_seconds()
    await asyncio.gather(*map(begin, all_hosts))
    took = time.monotonic() - began
    memory = broker.memory_bytes() - empty
    connecting_s = broker.cpu_seconds() - cpu
    cpu, before = broker.cpu_seconds(), sum(host.acknowledged for host in all_hosts)
    for host in all_hosts:
        host.slowest_s = 0
    await asyncio.gather(*(host.tell(time.monotonic() + EVENTS_S) for host in all_hosts))
    count = sum(host.acknowledged for host in all_hosts) - before
    used = broker.cpu_seconds() - cpu
    slowest_s = max(host.slowest_s for host in all_hosts)
    for host in all_hosts:
        host.end()
    states = hosts * (ports + 1)
    return [
        f"| {hosts:,} hosts | |",
        "| --- | --- |",
        f"| all connected and all {states:,} states told, after a restart of everything | "
        f"{took:.1f} s, {connecting_s:.1f} s of a CPU |",
        f"| memory | {memory / 1e6:.0f} MB: {memory / hosts / 1e3:.0f} kB a host, with its "
        f"{ports} states |",
        f"| {count / EVENTS_S:,.0f} events a second | {used / EVENTS_S:.0%} of a CPU, "
        f"{used / count * 1e6:.0f} µs an event, the slowest acknowledged after "
        f"{slowest_s * 1e3:.0f} ms |",
    ]


def main() -> None:
    """Measures, and writes it down."""
    hosts, ports = (int(word) for word in [*sys.argv[1:], "1000", "20"][:2])
    with Mosquitto() as broker:
        lines = asyncio.run(measure(broker, hosts, ports))
    write_measured("broker_hosts", f"{hosts} {ports}", lines)


if __name__ == "__main__":
    main()
