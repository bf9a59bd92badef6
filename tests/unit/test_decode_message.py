# SPDX-License-Identifier: Apache-2.0
"""Records of the message ring, as long as their frames; no length in them is believed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentinel import abi
from sentinel.decode_message import HEADER_BYTES, KernelMessage, decode_message

FRAME = bytes(at % 251 for at in range(abi.TAP_MESSAGE_BYTES))


def record(
    frame: bytes = FRAME[:342],
    *,
    head_bytes: int | None = None,
    role: int = abi.TAP_ROLE_PORT,
    verdict: int = abi.TAP_VERDICT_PASSED,
    outer: tuple[int, int] = (0, 0),
) -> bytes:
    """As the kernel writes it: only so much of the struct as the frame fills."""
    tpid = int.from_bytes(outer[0].to_bytes(2, "big"), "little")  # a __be16 in memory
    whole = abi.TAP_MESSAGE.pack(
        10**9, 8 * 10**8, 7 * 10**8, 7, 8, 3, 1700,
        len(frame) if head_bytes is None else head_bytes, abi.TAP_DHCP_REQUEST,
        abi.TAP_OUT, role, verdict, tpid, outer[1], 0, 0, 0, frame,
    )  # fmt: skip
    return whole[: HEADER_BYTES + len(frame)]


def test_a_message() -> None:
    assert decode_message(record()) == KernelMessage(
        time_ns=10**9,
        ifindex=7,
        port_ifindex=8,
        role="port",
        direction=abi.TAP_OUT,
        verdict="passed",
        sent_ns=8 * 10**8,
        received_ns=7 * 10**8,
        missed=3,
        frame_bytes=1700,
        frame=FRAME[:342],
    )


@pytest.mark.parametrize(("role", "name"), [(1, "port"), (2, "uplink"), (9, "unknown-9")])
def test_roles(role: int, name: str) -> None:
    assert decode_message(record(role=role)).role == name


@pytest.mark.parametrize(
    ("verdict", "name"),
    [(0, "passed"), (1, "dropped"), (2, "latched"), (3, "fused"), (255, "unknown-255")],
)
def test_verdicts(verdict: int, name: str) -> None:
    assert decode_message(record(verdict=verdict)).verdict == name


@pytest.mark.parametrize("outer", [(0x8100, 0x6005), (0x88A8, 0x0FFF)])
def test_a_tag_in_metadata_goes_back_in_wire_order(outer: tuple[int, int]) -> None:
    tag = outer[0].to_bytes(2, "big") + outer[1].to_bytes(2, "big")
    found = decode_message(record(outer=outer)).frame
    assert found == FRAME[:12] + tag + FRAME[12:342]


@pytest.mark.parametrize("length", [0, 1, 11, 12, 13, 14, abi.TAP_MESSAGE_BYTES])
def test_frames_of_any_length(length: int) -> None:
    assert decode_message(record(FRAME[:length])).frame == FRAME[:length]
    tagged = decode_message(record(FRAME[:length], outer=(0x8100, 5))).frame
    assert len(tagged) == length + (4 if length >= 12 else 0)


@pytest.mark.parametrize(
    ("claimed", "there", "kept"),
    [
        (342, 100, 100),  # more than the record has
        (65535, 1600, 1600),
        (10, 342, 10),  # and less
        (0, 342, 0),
    ],
)
def test_lengths_are_clamped(claimed: int, there: int, kept: int) -> None:
    assert decode_message(record(FRAME[:there], head_bytes=claimed)).frame == FRAME[:kept]


def test_nothing_behind_the_largest_frame_is_read() -> None:
    raw = record(FRAME, head_bytes=65535) + b"more"
    assert decode_message(raw).frame == FRAME


@given(st.binary(max_size=HEADER_BYTES - 1))
def test_fewer_bytes_are_none(raw: bytes) -> None:
    with pytest.raises(ValueError, match=f"{HEADER_BYTES} are its header"):
        decode_message(raw)


@given(st.binary(min_size=HEADER_BYTES, max_size=abi.TAP_MESSAGE.size + 16))
def test_any_bytes_are_some_message(raw: bytes) -> None:
    message = decode_message(raw)
    there = raw[HEADER_BYTES:][: abi.TAP_MESSAGE_BYTES]
    claimed = int.from_bytes(raw[abi.TAP_MESSAGE__HEAD_BYTES :][:2], "little")
    untagged = there[:claimed]
    if len(message.frame) == len(untagged) + 4:
        assert message.frame[:12] + message.frame[16:] == untagged
    else:
        assert message.frame == untagged
