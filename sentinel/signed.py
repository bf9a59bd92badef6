# SPDX-License-Identifier: Apache-2.0
"""A message that its carriers can delay or lose, and nothing else: signed with Ed25519.

`{"by":NAME,"payload":TEXT,"signature":BASE64}`; the signature (RFC 8032 §5.1) is over
the domain and the payload's bytes. A domain names one kind of message, so that none is
ever taken for one of another kind.

`cryptography` is imported when a message is signed or opened, and not before: who has
nobody's key pays nothing for it.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Annotated, Final

import msgspec

from sentinel.errors import UntrustedError

ORDER_DOMAIN: Final = b"tapsentinel order 1\n"
NOTICE_DOMAIN: Final = b"tapsentinel notice 1\n"
MAX_MESSAGE_BYTES: Final = 16 * 1024
MAX_NAME_CHARACTERS: Final = 253

_SPKI_PREFIX: Final = bytes.fromhex("302a300506032b6570032100")
"""What stands before the 32 bytes of an Ed25519 key in its DER form (RFC 8410 §4)."""
_KEY_BYTES: Final = 32
_PEM_LINES: Final = ("-----BEGIN PUBLIC KEY-----", "-----END PUBLIC KEY-----")


class _Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    by: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_NAME_CHARACTERS)]
    payload: str
    signature: Annotated[str, msgspec.Meta(max_length=128)]


_decoder: msgspec.json.Decoder[_Message] = msgspec.json.Decoder(_Message)


def read_public_key(text: str) -> str:
    """Keep a public key: the one line of base64 that `openssl pkey -pubout` writes.

    Its PEM lines may stand around it. Raises ValueError for all else.
    """
    line = text.strip()
    for fence in _PEM_LINES:
        line = line.replace(fence, "")
    line = line.strip()
    _raw_key(line)
    return line


def sign(private_pem: bytes, by: str, domain: bytes, payload: bytes) -> bytes:
    """The message that says `payload` in the name of `by`.

    `private_pem` is PKCS#8 as `openssl genpkey -algorithm ed25519` writes it, without a
    passphrase; `payload` is UTF-8. Raises ValueError if it is none, or the message would
    be larger than MAX_MESSAGE_BYTES.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(private_pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # The library's own words could tell of what is in the file.
        raise ValueError(
            "is no private key without a passphrase; make one with "
            "`openssl genpkey -algorithm ed25519`"
        ) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise ValueError(
            "is a private key, but not Ed25519; make one with `openssl genpkey -algorithm ed25519`"
        )
    signature = base64.b64encode(key.sign(domain + payload)).decode("ascii")
    message = msgspec.json.encode(_Message(by, payload.decode(), signature))
    if len(message) > MAX_MESSAGE_BYTES:
        raise ValueError(f"a message of {len(message)} bytes is larger than {MAX_MESSAGE_BYTES}")
    return message


def opened(message: bytes, keys: Mapping[str, str], domain: bytes) -> tuple[str, bytes]:
    """Who says what: the signer's name and the payload, as it was signed.

    `keys` are public keys by name, as `read_public_key` keeps them. Raises
    UntrustedError, with why, for everything that is not signed by one of them.
    """
    said = _parsed(message)
    if said.by not in keys:
        raise UntrustedError(f"{said.by[:64]!r} is nobody whose key is in the configuration")
    try:
        signature = base64.b64decode(said.signature, validate=True)
    except (binascii.Error, ValueError):
        raise UntrustedError(f"the signature of {said.by[:64]!r} is not base64") from None

    payload = said.payload.encode()
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        key = Ed25519PublicKey.from_public_bytes(_raw_key(keys[said.by]))
        key.verify(signature, domain + payload)
    except (InvalidSignature, ValueError):
        raise UntrustedError(f"the signature is not that of {said.by[:64]!r}") from None
    return said.by, payload


def prepare() -> None:
    """Import what signatures need, so that the first message does not wait for it."""
    import cryptography.hazmat.primitives.asymmetric.ed25519  # noqa: F401


def named(message: bytes) -> str:
    """Whom a message names as its signer, unproven. Raises UntrustedError if it is none."""
    return _parsed(message).by


def _parsed(message: bytes) -> _Message:
    if len(message) > MAX_MESSAGE_BYTES:
        raise UntrustedError(f"it has {len(message)} bytes, more than {MAX_MESSAGE_BYTES}")
    try:
        return _decoder.decode(message)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise UntrustedError("it is no signed message") from None


def _raw_key(line: str) -> bytes:
    try:
        der = base64.b64decode(line, validate=True)
    except (binascii.Error, ValueError):
        der = b""
    if not der.startswith(_SPKI_PREFIX) or len(der) != len(_SPKI_PREFIX) + _KEY_BYTES:
        raise ValueError(
            "is no public Ed25519 key; write the line of base64 that "
            "`openssl pkey -in FILE -pubout` prints, MCowBQYDK2VwAyEA…"
        )
    return der[len(_SPKI_PREFIX) :]
