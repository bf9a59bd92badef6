# SPDX-License-Identifier: Apache-2.0
"""Who is at the other end of a UNIX socket, and how often to tell of the refused."""

from __future__ import annotations

import array
import ctypes
import errno
import grp
import os
import pwd
import socket
import struct

from sentinel.protocol import Peer
from sentinel.window_gate import WindowGate

_SO_PEERGROUPS = 59  # asm-generic/socket.h; Python's socket module has no name for it
SEVERAL_UIDS = 2**32 - 1  # (uid_t)-1, which nobody has
_CREDENTIALS = struct.Struct("iII")
_GROUPS_BYTES = 1024  # what socket.getsockopt() allows
_MAX_GROUPS = 65536  # NGROUPS_MAX, limits.h


def peer_of(connection: socket.socket) -> Peer:
    """The process that called connect(), as it was then. Raises OSError.

    A uid that has no place in this user namespace arrives as the overflow uid,
    and is nobody in particular.
    """
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, gid = _CREDENTIALS.unpack(raw)
    return Peer(pid, uid, gid, frozenset(_groups_of(connection)))


def listener_pid(path: str) -> int | None:
    """The pid of the process that listens at a socket; None if there is none to be known."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(path)
            return peer_of(probe).pid
        except OSError:
            return None


def group_gid(name: str) -> int | None:
    """The number of a group; None if this host has none of that name."""
    try:
        return grp.getgrnam(name).gr_gid
    except (KeyError, ValueError):
        return None


def user_uid(name: str) -> int | None:
    """The number of a user; None if this host has none of that name."""
    try:
        return pwd.getpwnam(name).pw_uid
    except (KeyError, ValueError):
        return None


def _groups_of(connection: socket.socket) -> array.array[int]:
    groups = array.array("I")
    try:
        groups.frombytes(connection.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _GROUPS_BYTES))
    except OSError as error:
        if error.errno != errno.ERANGE:
            raise
        groups.frombytes(_many_groups(connection))
    return groups


def _many_groups(connection: socket.socket) -> bytes:
    """For a peer in more groups than socket.getsockopt() has room for."""
    libc = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(_MAX_GROUPS * 4)
    length = ctypes.c_uint32(len(buffer))
    failed = libc.getsockopt(
        connection.fileno(),
        socket.SOL_SOCKET,
        _SO_PEERGROUPS,
        buffer,
        ctypes.byref(length),
    )
    if failed:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return buffer.raw[: length.value]


class RefusalGate:
    """Lets one refusal per uid and window through, with how many it stands for.

    Who has no right may knock as often as it likes, and must not fill the journal
    with it. At most `max_uids` are told apart; those beyond are told of together,
    as `SEVERAL_UIDS`.
    """

    def __init__(self, window_ns: int, max_uids: int = 64) -> None:
        self._gate: WindowGate[int, Peer] = WindowGate(window_ns, max_uids, SEVERAL_UIDS)

    def refused(self, peer: Peer, now_ns: int) -> int:
        """How many refusals to tell of now: 1, or 0 while this uid's window is open."""
        key = self._gate.key_of(peer.uid)
        if key != peer.uid:
            peer = Peer(0, SEVERAL_UIDS, SEVERAL_UIDS, frozenset())
        return int(self._gate.note(key, peer, now_ns))

    def due(self, now_ns: int) -> list[tuple[Peer, int]]:
        """What came in windows that are over by now: the last peer of each, and how many."""
        return self._gate.due(now_ns)

    def is_idle(self) -> bool:
        """No window is open."""
        return self._gate.is_idle()
