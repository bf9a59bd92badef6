# SPDX-License-Identifier: Apache-2.0
"""DHCPv6 messages as tshark reads them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from sentinel.dhcp.message6 import decode6
from tests.harness.captures import write_pcap
from tests.harness.dhcp_seeds import seeds6
from tests.harness.frames import GUEST_MAC, ethernet
from tests.harness.packets import ETHERTYPE_IPV6, PROTO_UDP, ipv6, udp

NOT_AS_TSHARK = {"empty relay", "no prefix", "no DUIDs", "two of each", "bits behind a prefix"}
"""What is wrong on purpose, and bits that it leaves behind a prefix."""
FIELDS = (
    *("dhcpv6.msgtype", "dhcpv6.xid", "dhcpv6.duid.bytes", "dhcpv6.iaaddr.ip"),
    *("dhcpv6.iaaddr.valid_lifetime", "dhcpv6.iaid", "dhcpv6.status_code", "dhcpv6.linkaddr"),
    *("dhcpv6.iaprefix.pref_addr", "dhcpv6.iaprefix.pref_len"),
)


@pytest.mark.skipif(shutil.which("tshark") is None, reason="no tshark installed")
def test_seeds_against_tshark(tmp_path: Path) -> None:
    seeds = {name: seed for name, seed in seeds6().items() if name not in NOT_AS_TSHARK}
    ends = ("fe80::1", "ff02::1:2")
    frames = [
        ethernet("33:33:00:01:00:02", GUEST_MAC,
                 ipv6(*ends, PROTO_UDP, udp(*ends, 546, 547, seed)), ETHERTYPE_IPV6)
        for seed in seeds.values()
    ]  # fmt: skip
    path = tmp_path / "seeds.pcap"
    write_pcap(path, frames)
    words = [word for field in FIELDS for word in ("-e", field)]
    done = subprocess.run(
        ["tshark", "-n", "-r", str(path), "-T", "fields", *words],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    compared = 0
    for (name, seed), line in zip(seeds.items(), done.stdout.splitlines(), strict=True):
        kinds, xid, duids, addresses, times, iaids, statuses, links, prefixes, sizes = (
            [each for each in column.split(",") if each] for column in line.split("\t")
        )
        ours = decode6(seed)
        assert ours is not None
        leases = [(each.kind, lease) for each in ours.associations for lease in each.leases]
        plain = [lease for kind, lease in leases if kind != "pd"]
        assert int(kinds[-1]) == ours.type, name
        assert int(xid[-1], 16) == ours.xid
        identifiers = [each.raw.hex() for each in (ours.client, ours.server) if each]
        assert [each.replace(":", "") for each in duids] == identifiers
        assert addresses == [lease.address for lease in plain]
        assert [int(each) for each in times] == [lease.valid_s for lease in plain]
        assert [int(each, 16) for each in iaids] == [
            each.iaid for each in ours.associations if each.kind != "ta"
        ]
        # tshark shows status codes as they stand, whatever they are about.
        said = [ours.status, *(each.status for each in ours.associations),
                *(lease.status for _, lease in leases)]  # fmt: skip
        assert sorted(map(int, statuses)) == sorted(each.code for each in said if each)
        assert links == [each.link_address for each in ours.relays]
        pairs = [f"{prefix}/{size}" for prefix, size in zip(prefixes, sizes, strict=True)]
        assert pairs == [lease.address for kind, lease in leases if kind == "pd"]
        compared += 1
    assert compared == len(seeds)
