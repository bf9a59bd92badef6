# SPDX-License-Identifier: Apache-2.0
"""NICs of a lane guest that are wired to one another, inside qemu.

They are real drivers on emulated hardware, so bonding, 8021q and the NIC's own limit
are those of a host. With everything off that carries more than one frame at a time, a
NIC posts receive buffers of 1518 bytes (GOOD_PACKET_LEN in the kernel's
drivers/net/virtio_net.c: an Ethernet header, one VLAN tag, 1500 bytes), and the device
drops what is larger: 1500 bytes pass behind one tag and die behind two, as on a switch
that was told nothing of the second. An envelope NIC takes more (IEEE 802.3as-2006).
"""

from __future__ import annotations

import re
from pathlib import Path

# Locally administered; the last two bytes say which pair and which end of it.
OUI = "02:74:73:6e"
OURS = re.compile(re.escape(OUI) + r":(?P<pair>[0-9a-f]{2}):(?P<end>[0-9a-f]{2})")
MOST_PAIRS = 8
ONE_BUFFER_A_FRAME = "mrg_rxbuf=off"
NO_OFFLOAD = (
    *("csum=off", "gso=off", "guest_csum=off", "guest_tso4=off", "guest_tso6=off"),
    *("guest_ecn=off", "guest_ufo=off", "host_tso4=off", "host_tso6=off", "host_ecn=off"),
    *("host_ufo=off",),
)


def back_to_back(plain: int, envelope: int = 0) -> list[str]:
    """qemu's arguments for so many pairs, the plain ones first.

    Raises ValueError beyond MOST_PAIRS.
    """
    pairs = plain + envelope
    if min(plain, envelope) < 0 or pairs > MOST_PAIRS:
        raise ValueError(f"a guest takes 0 to {MOST_PAIRS} pairs of NICs, not {pairs}")
    arguments: list[str] = []
    for pair in range(pairs):
        options = [*NO_OFFLOAD, "romfile="]
        if pair < plain:
            options.append(ONE_BUFFER_A_FRAME)
        for end in range(2):
            name = f"cable{pair}end{end}"
            device = f"virtio-net-pci,netdev={name},mac={mac_of(pair, end)}"
            arguments += ["-netdev", f"hubport,id={name},hubid={pair}"]
            arguments += ["-device", ",".join((device, *options))]
    return arguments


def mac_of(pair: int, end: int) -> str:
    """The MAC by which a guest finds one end (0 or 1) of a pair."""
    return f"{OUI}:{pair:02x}:{end:02x}"


def nics_here() -> dict[tuple[int, int], str]:
    """Inside such a guest: the NICs' names by pair and end, in this network namespace."""
    found = {}
    for folder in sorted(Path("/sys/class/net").iterdir()):
        # What is stacked on a NIC may wear the same address.
        if not (folder / "device").exists():
            continue
        match = OURS.fullmatch((folder / "address").read_text().strip())
        if match:
            found[int(match["pair"], 16), int(match["end"], 16)] = folder.name
    return found
