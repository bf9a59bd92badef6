# SPDX-License-Identifier: Apache-2.0
"""What journald is told of a line of the log."""

from __future__ import annotations

import logging
import os
import socket
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from sentinel.journald import MOST_VALUE_BYTES, JournaldHandler, datagram, leads_to_journald


def fields_of(sent: bytes) -> dict[str, bytes]:
    """Read as systemd's JOURNAL_NATIVE_PROTOCOL.md says."""
    fields = {}
    while sent:
        line, _, rest = sent.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            (length,) = struct.unpack_from("<Q", rest)
            value, rest = rest[8 : 8 + length], rest[9 + length :]
        fields[name.decode()] = value
        sent = rest
    return fields


@pytest.fixture
def journal() -> Iterator[socket.socket]:
    with (
        tempfile.TemporaryDirectory(prefix="ts-jd-") as place,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening,
    ):
        listening.bind(str(Path(place, "socket")))
        listening.settimeout(5)
        yield listening


@pytest.fixture
def log(journal: socket.socket) -> Iterator[logging.Logger]:
    handler = JournaldHandler(journal.getsockname())
    log = logging.Logger("tapsentinel")
    log.addHandler(handler)
    yield log
    handler.close()


def told(journal: socket.socket) -> dict[str, bytes]:
    return fields_of(journal.recv(1 << 17))


@pytest.mark.parametrize(
    ("level", "priority"), [(logging.ERROR, b"3"), (logging.WARNING, b"4"), (logging.INFO, b"6")]
)
def test_a_line_with_its_priority_and_its_fields(
    journal: socket.socket, log: logging.Logger, level: int, priority: bytes
) -> None:
    log.log(level, "%s: cut", "tap1", extra={"fields": {"TAPSENTINEL_PORT": "tap1"}})
    fields = told(journal)
    assert fields["MESSAGE"] == b"tap1: cut"
    assert fields["PRIORITY"] == priority
    assert fields["TAPSENTINEL_PORT"] == b"tap1"
    assert fields["SYSLOG_IDENTIFIER"] == b"tapsentinel"
    assert fields["CODE_FILE"].endswith(b"test_journald.py")


def test_a_traceback_stays_one_entry(journal: socket.socket, log: logging.Logger) -> None:
    try:
        raise ValueError("odd")
    except ValueError:
        log.exception("unexpected")
    lines = told(journal)["MESSAGE"].splitlines()
    assert lines[0] == b"unexpected"
    assert lines[-1] == b"ValueError: odd"


def test_nobody_else_s_text_becomes_a_field_or_an_escape() -> None:
    sent = datagram({"TAPSENTINEL_VM_NAME": "a\nMESSAGE=forged\x1b[2J", "MESSAGE": "true"})
    fields = fields_of(sent)
    assert fields["MESSAGE"] == b"true"
    assert fields["TAPSENTINEL_VM_NAME"] == b"a\nMESSAGE=forged\\x1b[2J"
    assert len(fields_of(datagram({"MESSAGE": "x" * (1 << 20)}))["MESSAGE"]) == MOST_VALUE_BYTES


def test_it_does_not_wait_for_a_journald_that_hangs_and_says_what_was_lost(
    journal: socket.socket, log: logging.Logger
) -> None:
    sent = 5000  # more than any queue of datagrams holds (net.unix.max_dgram_qlen)
    for number in range(sent):
        log.info("line %d", number)
    journal.setblocking(False)
    taken = 0
    while True:
        try:
            journal.recv(1 << 17)
        except BlockingIOError:
            break
        taken += 1
    assert 0 < taken < sent
    log.info("again")
    fields = told(journal)
    assert fields["TAPSENTINEL_LOST"] == str(sent - taken).encode()
    assert fields["MESSAGE"] == f"again ({sent - taken} lines before this one were lost)".encode()
    log.info("and on")
    assert "TAPSENTINEL_LOST" not in told(journal)


def test_only_a_stderr_that_leads_there_is_replaced() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        stat = os.fstat(ours.fileno())
        named = {"JOURNAL_STREAM": f"{stat.st_dev}:{stat.st_ino}"}
        assert leads_to_journald(ours.fileno(), named)
        assert not leads_to_journald(theirs.fileno(), named)
        assert not leads_to_journald(ours.fileno(), {})
    assert not leads_to_journald(ours.fileno(), named)
