# SPDX-License-Identifier: Apache-2.0
"""A signed message says what was signed, and by whom; every other one says nothing."""

from __future__ import annotations

import base64
import json
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentinel.errors import RefusedError, UntrustedError
from sentinel.signed import (
    MAX_MESSAGE_BYTES,
    NOTICE_DOMAIN,
    ORDER_DOMAIN,
    named,
    opened,
    read_public_key,
    sign,
)
from tests.harness.signers import Signer

ALICE = Signer("alice")
BOB = Signer("bob")
KEYS = {"alice": ALICE.public, "bob": BOB.public}
PAYLOAD = '{"version":1,"port":"täp0"}'.encode()
MESSAGE = ALICE.sign(ORDER_DOMAIN, PAYLOAD)


def test_a_message_is_its_signer_s_and_what_was_signed() -> None:
    assert opened(MESSAGE, KEYS, ORDER_DOMAIN) == ("alice", PAYLOAD)
    assert named(MESSAGE) == "alice"


def test_keys_are_as_openssl_makes_them() -> None:
    private = subprocess.run(
        ["openssl", "genpkey", "-algorithm", "ed25519"], capture_output=True, check=True
    ).stdout
    pem = subprocess.run(
        ["openssl", "pkey", "-pubout"], input=private, capture_output=True, check=True
    ).stdout.decode()
    line = pem.splitlines()[1]
    assert len(line) == 60
    assert read_public_key(pem) == read_public_key(line) == line
    message = sign(private, "carol", NOTICE_DOMAIN, b"{}")
    assert opened(message, {"carol": line}, NOTICE_DOMAIN) == ("carol", b"{}")


def change(**members: object) -> bytes:
    return json.dumps({**json.loads(MESSAGE), **members}).encode()


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (change(by="bob"), "not that of 'bob'"),
        (change(by="eve"), "nobody whose key"),
        (change(by=""), "no signed message"),
        (change(payload="{}"), "not that of 'alice'"),
        (change(payload="\udc80"), "no signed message"),
        (change(signature=""), "not that of 'alice'"),
        (change(signature="!!!"), "not base64"),
        (change(signature=base64.b64encode(bytes(64)).decode()), "not that of 'alice'"),
        (change(signature="A" * 129), "no signed message"),
        (change(more=1), "no signed message"),
        (b"[]", "no signed message"),
        (b"", "no signed message"),
        (b"[" * 10_000, "no signed message"),
        (b" " * (MAX_MESSAGE_BYTES + 1), "more than 16384"),
        (BOB.sign(ORDER_DOMAIN, PAYLOAD, by="alice"), "not that of 'alice'"),
    ],
)
def test_what_is_refused_and_why(message: bytes, why: str) -> None:
    with pytest.raises(UntrustedError) as refused:
        opened(message, KEYS, ORDER_DOMAIN)
    assert why in str(refused.value)
    assert isinstance(refused.value, RefusedError)


def test_a_message_of_one_kind_is_none_of_another() -> None:
    with pytest.raises(UntrustedError, match="not that of"):
        opened(MESSAGE, KEYS, NOTICE_DOMAIN)


@given(st.integers(0, len(MESSAGE) - 1), st.integers(1, 255))
def test_no_altered_byte_says_anything_else(at: int, flip: int) -> None:
    altered = bytearray(MESSAGE)
    altered[at] ^= flip
    try:
        said = opened(bytes(altered), KEYS, ORDER_DOMAIN)
    except UntrustedError:
        return
    # Base64 has spare bits at its end, and JSON two ways to write a letter.
    assert said == ("alice", PAYLOAD)


@given(st.binary(max_size=300))
def test_nor_do_bytes_of_chance(message: bytes) -> None:
    with pytest.raises(UntrustedError):
        opened(message, KEYS, ORDER_DOMAIN)


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("", "openssl pkey"),
        ("MCow", "openssl pkey"),
        ("MCowBQYDK2VwAyEA" + "!" * 44, "openssl pkey"),
        ("MCowBQYDK2VuAyEA" + "A" * 43 + "=", "openssl pkey"),  # X25519
        (ALICE.public + "\n" + BOB.public, "openssl pkey"),
    ],
)
def test_what_is_no_public_key(text: str, right: str) -> None:
    with pytest.raises(ValueError, match=right):
        read_public_key(text)


def test_what_is_no_private_key() -> None:
    rsa = subprocess.run(
        ["openssl", "genpkey", "-algorithm", "x25519"], capture_output=True, check=True
    ).stdout
    with pytest.raises(ValueError, match="not Ed25519"):
        sign(rsa, "alice", ORDER_DOMAIN, b"{}")
    with pytest.raises(ValueError, match="no private key"):
        sign(b"-----BEGIN PRIVATE KEY-----\nsecret\n", "alice", ORDER_DOMAIN, b"{}")
    with pytest.raises(ValueError, match="larger than"):
        ALICE.sign(ORDER_DOMAIN, b" " * MAX_MESSAGE_BYTES)
