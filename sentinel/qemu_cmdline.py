# SPDX-License-Identifier: Apache-2.0
"""Ways to the network in qemu's command line that no tap shows. What is plugged later is not there.

Every text here is untrusted: see sentinel/vm.py.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from typing import Final

from sentinel.pci import pci_address
from sentinel.vm import VmPort, clean_text, identity_from_cmdline

MOST_PORTS: Final = 64
LARGEST_OPTION_CHARS: Final = 64 << 10


def is_qemu(cmdline: bytes) -> bool:
    """Whether the program that was started has a name as Linux distributions give it to qemu."""
    program = cmdline.partition(b"\0")[0].rpartition(b"/")[2]
    return program.startswith(b"qemu-system-") or program in {b"qemu-kvm", b"kvm"}


def ports_of_cmdline(cmdline: bytes, pid: int) -> tuple[VmPort, ...]:
    """Sockets of vhost-user and PCI devices, network controllers or not; at most 64."""
    vm = identity_from_cmdline(cmdline, pid)
    sockets: dict[str, str] = {}
    chardevs: list[str] = []
    ports: list[VmPort] = []
    words = [word.decode("utf-8", "replace") for word in cmdline.split(b"\0")]
    for option, text in itertools.pairwise(words):
        # qemu takes one dash or two.
        match option.removeprefix("-").removeprefix("-"):
            case "chardev":
                values = _values(text, "backend")
                if values.get("backend") == "socket" and "path" in values:
                    sockets[values.get("id", "")] = values["path"]
            case "netdev" | "nic":
                values = _values(text, "type")
                if values.get("type") == "vhost-user":
                    chardevs.append(values.get("chardev", ""))
            case "device":
                address = _vfio_address(_values(text, "driver"))
                ports += [VmPort("vf", vm, source=address)] if address else []
    paths = (clean_text(sockets.get(chardev)) for chardev in chardevs)
    ports += [VmPort("vhost-user", vm, source=path) for path in paths if path]
    return tuple(ports[:MOST_PORTS])


def _vfio_address(values: Mapping[str, str]) -> str | None:
    if not values.get("driver", "").startswith("vfio-pci"):
        return None
    return pci_address(values.get("host") or values.get("sysfsdev", "").rpartition("/")[2])


def _values(text: str, implied: str) -> dict[str, str]:
    """Read `implied,key=value,…`, where a comma in a value is written twice, or a JSON object."""
    if len(text) > LARGEST_OPTION_CHARS:
        return {}
    if text.startswith("{"):
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            return {}
        return {key: value for key, value in found.items() if isinstance(value, str)}
    values: dict[str, str] = {}
    for position, part in enumerate(text.replace(",,", "\0").split(",")):
        key, equals, value = part.replace("\0", ",").partition("=")
        if equals:
            values[key] = value
        elif position == 0:
            values[implied] = key
    return values
