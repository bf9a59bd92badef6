# SPDX-License-Identifier: Apache-2.0
"""The rules for one value of the configuration: a pattern, a MAC, a path, a group.

Each reader takes the text, returns what is kept, and raises ValueError saying
what is wrong and what would be right. Rules that need two values stand in `config`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from sentinel.durations import parse_duration, parse_size

IFNAME_MAX_BYTES: Final = 15
"""IFNAMSIZ less the closing NUL (linux/if.h)."""
SOCKET_PATH_MAX_BYTES: Final = 107
"""sun_path less the closing NUL (unix(7))."""

_MAC: Final = re.compile(r"[0-9a-f]{2}(?::[0-9a-f]{2}){5}")
_GROUP: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,30}\$?")
_PERCENT: Final = re.compile(r"([0-9]{1,4})%")
_COUNT: Final = re.compile(r"[0-9]{1,9}")


def read_pattern(text: str) -> str:
    """Keep a pattern of device names (`*`, `?`, `[abc]`), as fnmatch reads them."""
    _refuse_impossible_characters(text, "a device name")
    if text.count("[") != text.count("]"):
        raise ValueError(f'{text!r} has a "[" and a "]" that do not pair; write e.g. "tap[0-9]*"')
    shortest = re.sub(r"\[[!]?\]?[^\]]*\]", "?", text).replace("*", "")
    if len(shortest.encode(errors="replace")) > IFNAME_MAX_BYTES:
        raise ValueError(
            f"{text!r} can match nothing: a device name has at most {IFNAME_MAX_BYTES} bytes"
        )
    return text


def read_device(text: str) -> str:
    """Keep the name of one device."""
    _refuse_impossible_characters(text, "a device name")
    if any(sign in text for sign in "*?["):
        raise ValueError(f"{text!r} is a pattern; write the whole name of one device, e.g. 'bond0'")
    if len(text.encode(errors="replace")) > IFNAME_MAX_BYTES:
        raise ValueError(f"{text!r} is too long: a device name has at most 15 bytes")
    return text


def read_mac(text: str) -> str:
    """Keep a unicast MAC address, in lower case with colons."""
    mac = text.lower().replace("-", ":")
    if _MAC.fullmatch(mac) is None:
        raise ValueError(f'{text!r} is no MAC address; write e.g. "fa:16:3e:24:e7:22"')
    if int(mac[:2], 16) & 1:
        raise ValueError(f"{text!r} is a group address, which no port has; write the port's own")
    return mac


def read_vm(text: str) -> str:
    """Keep what names a VM: its UUID or its name."""
    if not text.strip():
        raise ValueError("is empty; write the VM's UUID or its name")
    if not text.isprintable():
        raise ValueError(f"{text!r} has control characters; write the VM's UUID or its name")
    return text


def read_directory(text: str) -> str:
    """Keep an absolute directory, without a closing slash."""
    if not text.startswith("/"):
        raise ValueError(f'{text!r} is a relative path; write it from the root, e.g. "/{text}"')
    if not text.isprintable():
        raise ValueError(f"{text!r} has control characters")
    parts = [part for part in text.split("/") if part]
    if ".." in parts or "." in parts:
        raise ValueError(f'{text!r} has a "." or ".." in it; write the directory it leads to')
    if not parts:
        raise ValueError("is the root directory; write a directory of its own")
    return "/" + "/".join(parts)


def read_bpffs_directory(text: str) -> str:
    """Keep a directory that pins can live in.

    A bpffs refuses names with a dot (kernel/bpf/inode.c, `bpf_lookup`).
    """
    path = read_directory(text)
    mount, _, below = path.partition("/sys/fs/bpf")
    if not mount and not below:
        raise ValueError(
            f'{text!r} is where every program\'s pins live; write e.g. "/sys/fs/bpf/tapsentinel"'
        )
    if not mount and below.startswith("/") and "." in below:
        raise ValueError(f"{text!r} has a dot below /sys/fs/bpf, which a bpffs refuses")
    return path


def read_group(text: str) -> str:
    """Keep the name of a UNIX group."""
    if text.isdigit():
        raise ValueError(f'{text!r} is a number; write the name of the group, e.g. "tapsentinel"')
    if _GROUP.fullmatch(text) is None:
        raise ValueError(
            f"{text!r} is no group name; write letters, digits, '_' and '-', e.g. \"tapsentinel\", "
            'or "root" to let nobody but root in'
        )
    return text


def read_finding(text: str) -> str:
    """Keep a pattern of audit findings' ids: a rule, a slash, a device."""
    rule, slash, device = text.partition("/")
    if not (rule and slash and device) or not text.isprintable():
        raise ValueError(
            f"{text!r} is no finding; write what `tapsentinel audit` shows, "
            'e.g. "bridge-mtu/br0" or "unseen-port/*"'
        )
    return text


def read_host_name(text: str) -> str:
    """Keep what a host is called; empty: its hostname."""
    if len(text) > 253 or any(sign.isspace() or not sign.isprintable() for sign in text):
        raise ValueError(f"{text[:40]!r} is no host name; write e.g. 'hv-17.example.net'")
    return text


def read_share(value: str | int) -> tuple[int, bool]:
    """A number of ports, or a share of them: (number, True if it is per cent)."""
    text = str(value)
    percent = _PERCENT.fullmatch(text)
    if percent is not None:
        number = int(percent[1])
        if number > 100:
            raise ValueError(f"{text!r} is more than all ports; at most '100%'")
    elif _COUNT.fullmatch(text) is not None:
        number = int(text)
    else:
        raise ValueError(
            f'{text!r} is neither a share nor a number of ports; write e.g. "10%" or 5'
        )
    if number == 0:
        raise ValueError(
            f"{text!r} would never let a port be cut; write at least 1 (to cut nothing, "
            'leave the actions of [checks] at "count")'
        )
    return number, percent is not None


def _refuse_impossible_characters(text: str, what: str) -> None:
    if not text:
        raise ValueError(f'is empty; write {what}, e.g. "tap0"')
    if text in (".", ".."):
        raise ValueError(f"{text!r} can be no device name")
    # dev_valid_name() in net/core/dev.c refuses these.
    if any(sign in "/:" or sign.isspace() or not sign.isprintable() for sign in text):
        raise ValueError(f"{text!r} has a slash, a colon or a space, which no device name has")


@dataclass(frozen=True, slots=True)
class Written:
    """How a value is written in the file; stands in a field's `Annotated`."""

    read: Callable[[str], object]
    wanted: str
    """Completes "expected …"."""
    numbers_too: bool = False


DURATION: Final = Written(parse_duration, 'a duration in quotes, such as "10s", "5m" or "1h30m"')
SIZE: Final = Written(parse_size, 'a size in quotes, such as "256MB" or "1GiB"')
PATTERN: Final = Written(read_pattern, 'a pattern of device names in quotes, such as "tap*"')
DEVICE: Final = Written(read_device, 'a device name in quotes, such as "bond0"')
MAC: Final = Written(read_mac, 'a MAC address in quotes, such as "fa:16:3e:24:e7:22"')
VM: Final = Written(read_vm, "a VM's UUID or name in quotes")
DIRECTORY: Final = Written(read_directory, "an absolute path in quotes")
BPFFS_DIRECTORY: Final = Written(read_bpffs_directory, "an absolute path in quotes")
FINDING: Final = Written(read_finding, 'a finding in quotes, such as "bridge-mtu/br0"')
GROUP: Final = Written(read_group, 'a group name in quotes, such as "tapsentinel"')
HOST_NAME: Final = Written(read_host_name, 'a name in quotes, such as "hv-17"')
SHARE: Final = Written(
    lambda text: read_share(text) and text, 'a share such as "10%" or a number of ports', True
)
