# SPDX-License-Identifier: Apache-2.0
"""The topics below ROOT/HOST. Pure.

Names come from outside: what MQTT gives a meaning to (MQTT 5.0 §4.7) or forbids is
percent-encoded, so that a device called `a/+` is one level of a topic and no filter.
"""

from __future__ import annotations

from typing import Final

ROOT: Final = "tapsentinel"
_SPECIAL: Final = frozenset("/+#%$")


def level(name: str) -> str:
    """One level of a topic, for any name."""
    if name and all(sign.isprintable() and sign not in _SPECIAL for sign in name):
        return name
    return "".join(_encoded(sign) for sign in name) or "%"


def _encoded(sign: str) -> str:
    if sign.isprintable() and sign not in _SPECIAL:
        return sign
    return "".join(f"%{byte:02X}" for byte in sign.encode("utf-8", "surrogatepass"))


def base(host: str, root: str = ROOT) -> str:
    """What all topics of a host begin with, without a slash at its end."""
    return f"{root}/{level(host)}"


def status(host: str, root: str = ROOT) -> str:
    """Birth and will, retained."""
    return f"{base(host, root)}/status"


def metrics(host: str, root: str = ROOT) -> str:
    """The summary at an interval."""
    return f"{base(host, root)}/metrics"


def event(host: str, kind: str, root: str = ROOT) -> str:
    """Events of a kind."""
    return f"{base(host, root)}/events/{level(kind)}"


def port(host: str, name: str, root: str = ROOT) -> str:
    """A port's state, retained."""
    return f"{base(host, root)}/ports/{level(name)}"


def order(host: str, principal: str, root: str = ROOT) -> str:
    """A principal's orders to a host."""
    return f"{base(host, root)}/orders/{level(principal)}"


def answers(host: str, root: str = ROOT) -> str:
    """What a host's answers to orders are below; the principal is the next level."""
    return f"{base(host, root)}/answers"


def notice(host: str, name: str, root: str = ROOT) -> str:
    """One of a host's notices to the fleet, retained."""
    return f"{base(host, root)}/notices/{level(name)}"


def orders_filter(host: str, root: str = ROOT) -> str:
    """What a host subscribes to for its orders."""
    return f"{base(host, root)}/orders/+"


def notices_filter(root: str = ROOT) -> str:
    """What a host subscribes to for the notices of all."""
    return f"{root}/+/notices/+"
