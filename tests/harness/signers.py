# SPDX-License-Identifier: Apache-2.0
"""People and hosts with a key of their own."""

from __future__ import annotations

import base64

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from sentinel.signed import sign


class Signer:
    """Somebody with a fresh key: `public` is the line for the configuration."""

    def __init__(self, name: str) -> None:
        self.name = name
        key = Ed25519PrivateKey.generate()
        self.private_pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        der = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        self.public = base64.b64encode(der).decode()

    def sign(self, domain: bytes, payload: bytes, by: str | None = None) -> bytes:
        """A message; `by` another name than one's own: a lie."""
        return sign(self.private_pem, by or self.name, domain, payload)
