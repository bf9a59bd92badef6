# SPDX-License-Identifier: Apache-2.0
"""What went wrong with a broker, in words for an operator. Pure."""

from __future__ import annotations

from typing import Final

_TLS: Final = (
    # What OpenSSL says, and what it means here; the first that fits.
    ("certificate has expired", "the broker's certificate has expired"),
    ("Hostname mismatch", "the broker's certificate is for another name than mqtt.host"),
    ("IP address mismatch", "the broker's certificate is for another address than mqtt.host"),
    (
        "CERTIFICATE_VERIFY_FAILED",
        "the broker's certificate is not trusted: see mqtt.ca_file",
    ),
    ("ALERT_CERTIFICATE_REQUIRED", "the broker wants a client certificate: set mqtt.cert_file"),
    ("ALERT_UNKNOWN_CA", "the broker does not trust our certificate: see mqtt.cert_file"),
    ("ALERT_CERTIFICATE_EXPIRED", "our certificate has expired: see mqtt.cert_file"),
    ("ALERT_HANDSHAKE_FAILURE", "the broker refuses the TLS handshake: see mqtt.cert_file"),
    ("WRONG_VERSION_NUMBER", "what listens there speaks no TLS: see mqtt.port and mqtt.tls"),
    ("UNEXPECTED_EOF", "the broker ends the TLS handshake: does it listen with TLS there?"),
)
_REASONS: Final = {
    "not authorized": "the broker refuses us: see its ACL, mqtt.username_file and mqtt.cert_file",
    "bad user name or password": "the broker refuses the user name or the password",
    "client identifier not valid": "the broker refuses mqtt.client_id",
    "banned": "the broker has banned this client",
    "server busy": "the broker is busy",
    "session taken over": "another client has connected with our identifier: set mqtt.client_id "
    "and events.host so that each host has its own",
}
LONGEST_CHARS: Final = 300


def explain(said: str) -> str:
    """Plain words, and what the library said behind them."""
    flat = " ".join(said.split())
    for sign, meaning in _TLS:
        if sign in flat:
            return clip(f"{meaning} ({flat})")
    lowered = flat.lower()
    for sign, meaning in _REASONS.items():
        if sign in lowered:
            return clip(f"{meaning} ({flat})")
    return clip(flat or "no reason given")


def clip(text: str) -> str:
    """Text of a bounded length."""
    return text if len(text) <= LONGEST_CHARS else text[: LONGEST_CHARS - 1] + "…"


def wants_older(said: str) -> bool:
    """Whether a broker has said that it does not know this version of MQTT."""
    return "unsupported protocol version" in said.lower()
