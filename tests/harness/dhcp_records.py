# SPDX-License-Identifier: Apache-2.0
"""Records of the message ring as the decoder hands them on. Pure."""

from __future__ import annotations

from sentinel import abi
from sentinel.decode_message import KernelMessage


def record(frame: bytes) -> KernelMessage:
    """The frame of a guest at port 8, seen where it left through uplink 7."""
    return KernelMessage(
        time_ns=1000,
        ifindex=7,
        port_ifindex=8,
        role="uplink",
        direction=abi.TAP_OUT,
        verdict="passed",
        sent_ns=300,
        received_ns=200,
        missed=3,
        frame_bytes=len(frame),
        frame=frame,
    )
