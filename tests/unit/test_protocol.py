# SPDX-License-Identifier: Apache-2.0
"""Requests and answers: what is taken, what is refused, and with which words."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentinel import envelope, protocol
from sentinel.control_text import encode
from sentinel.errors import (
    ControlError,
    JournalError,
    PortGoneError,
    ProtocolError,
    RefusedError,
)
from sentinel.protocol import (
    Carry,
    Dhcp,
    Incidents,
    Notices,
    Peer,
    Ping,
    Ports,
    Quarantine,
    Release,
    Show,
    Status,
    Watch,
    decode_request,
)


@pytest.mark.parametrize(
    ("line", "request_"),
    [
        ('{"op":"ping"}', Ping()),
        ('{"op":"status"}', Status()),
        ('{"op":"ports"}\n', Ports()),
        ('{"op":"show","port":"tap1"}', Show("tap1")),
        ('{"op":"dhcp"}', Dhcp(None)),
        ('{"op":"dhcp","port":null}', Dhcp(None)),
        ('{"op":"dhcp","port":"tap1"}', Dhcp("tap1")),
        ('{"op":"incidents"}', Incidents(None, None, 50, False)),
        (
            '{"op":"incidents","since_wall_ns":5,"port":"t","limit":1,"open":true}',
            Incidents(5, "t", 1, True),
        ),
        ('{"op":"watch"}', Watch(None)),
        ('{"op":"watch","after":0}', Watch(0)),
        ('{"op":"quarantine","port":"tap1"}', Quarantine("tap1", None, "")),
        (
            '{"op":"quarantine","port":"tap1","for_ns":1,"reason":"r"}',
            Quarantine("tap1", 1, "r"),
        ),
        ('{"op":"release","port":"tap1","reason":"r"}', Release("tap1", "r")),
        ('{"op":"carry","what":"order","message":"m"}', Carry("order", "m", "")),
        ('{"op":"carry","what":"notice","message":"m","via":"b"}', Carry("notice", "m", "b")),
        ('{"op":"notices"}', Notices()),
    ],
)
def test_requests(line: str, request_: protocol.Request) -> None:
    assert decode_request(line.encode()) == request_


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("", "Input data was truncated"),
        ("{", "truncated"),
        ('{"op":"stop"}', "stop"),
        ('{"op":"show"}', "port"),
        ('{"op":"show","port":""}', "port"),
        ('{"op":"show","port":"' + "x" * 129 + '"}', "port"),
        ('{"op":"dhcp","port":""}', "port"),
        ('{"op":"dhcp","port":"' + "x" * 129 + '"}', "port"),
        ('{"op":"dhcp","port":["tap1"]}', "port"),
        ('{"op":"dhcp","client":"x"}', "client"),
        ('{"op":"ping","extra":1}', "extra"),
        ('{"op":"quarantine","port":"t","for_ns":0}', "for_ns"),
        ('{"op":"quarantine","port":"t","for_ns":9223372036854775808}', "for_ns"),
        ('{"op":"quarantine","port":"t","for_ns":true}', "for_ns"),
        ('{"op":"incidents","limit":1001}', "limit"),
        ('{"op":"incidents","since_wall_ns":-1}', "since_wall_ns"),
        ('{"op":"release","port":"t","reason":"' + "x" * 401 + '"}', "reason"),
        ('{"op":"carry","what":"report","message":""}', "what"),
        ('{"op":"carry","what":"order","message":"' + "x" * 16385 + '"}', "message"),
    ],
)
def test_refused_requests_are_told_why(line: str, word: str) -> None:
    with pytest.raises(ProtocolError, match="not a request") as refused:
        decode_request(line.encode())
    assert word in str(refused.value)


@given(st.binary(max_size=300))
def test_no_bytes_do_anything_else(line: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        decode_request(line)


def test_a_long_piece_of_nonsense_is_not_sent_back() -> None:
    with pytest.raises(ProtocolError) as refused:
        decode_request(b'{"op":"' + b"x" * 60000 + b'"}')
    assert len(str(refused.value)) < 300


@given(st.sampled_from(get_args(protocol.Request)), st.binary(max_size=40))
def test_nor_do_bytes_behind_a_right_beginning(kind: type[msgspec.Struct], rest: bytes) -> None:
    tag = str(kind.__struct_config__.tag)
    with contextlib.suppress(ProtocolError):
        decode_request(b'{"op":"' + tag.encode() + b'"' + rest)


@pytest.mark.parametrize(
    ("uid", "gid", "groups", "group", "may"),
    [
        (0, 0, [], None, True),
        (0, 0, [], 5, True),
        (7, 7, [], None, False),
        (7, 0, [0], None, False),
        (7, 7, [], 5, False),
        (7, 5, [], 5, True),
        (7, 7, [4, 5], 5, True),
        (7, 7, [4, 6], 5, False),
        (65534, 65534, [65534], 5, False),
    ],
)
def test_who_may(uid: int, gid: int, groups: list[int], group: int | None, may: bool) -> None:
    assert Peer(1, uid, gid, frozenset(groups)).may_order(group) is may


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RefusedError("no"), "refused"),
        (PortGoneError("gone"), "not_found"),
        (ProtocolError("what"), "usage"),
        (JournalError("full"), "internal"),
    ],
)
def test_codes(error: Exception, code: str) -> None:
    assert protocol.code_of(error) == code


class TestEnvelope:
    @pytest.mark.parametrize("result", [b"[]", b"{}", b'{"a":"}\\n"}', b"null"])
    def test_a_result_goes_through_untouched(self, result: bytes) -> None:
        line = envelope.wrap(result)
        assert line.count(b"\n") == 1
        assert json.loads(line) == {"ok": True, "result": json.loads(result)}
        assert envelope.unwrap(line) == result

    @pytest.mark.parametrize(
        ("code", "error"),
        [
            ("refused", RefusedError),
            ("not_found", RefusedError),
            ("usage", ProtocolError),
            ("internal", ControlError),
        ],
    )
    def test_a_complaint_becomes_an_error(self, code: str, error: type[Exception]) -> None:
        line = envelope.complaint(code, 'no "such"\nport \udcff')
        assert line.count(b"\n") == 1
        with pytest.raises(error) as raised:
            envelope.unwrap(line)
        assert str(raised.value) == 'no "such"\nport \udcff'

    @pytest.mark.parametrize(
        "line", [b"\n", b"[]\n", b"7\n", b"{}\n", b'{"ok":false}\n', b"\xff\n", b'{"ok":true,"r']
    )
    def test_what_is_no_answer(self, line: bytes) -> None:
        with pytest.raises(ProtocolError, match="no answer"):
            envelope.unwrap(line)


class TestEncoding:
    def test_dataclasses_and_structs(self) -> None:
        @dataclass(frozen=True, slots=True)
        class Known:
            name: str
            show: Show

        assert json.loads(encode([Known("a", Show("b"))])) == [
            {"name": "a", "show": {"op": "show", "port": "b"}}
        ]

    def test_a_name_that_is_no_utf8(self) -> None:
        @dataclass(frozen=True, slots=True)
        class Known:
            name: str

        assert json.loads(encode({"known": Known("tap\udcff")})) == {"known": {"name": "tap\udcff"}}
