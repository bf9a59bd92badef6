# SPDX-License-Identifier: Apache-2.0
"""What a DHCPv6 message does: RFC 8415 section 18. A Reply's act is what it says to whom asked."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from sentinel.dhcp.meaning import Meaning
from sentinel.dhcp.message6 import (
    ADVERTISE,
    CONFIRM,
    DECLINE,
    INFORMATION_REQUEST,
    NAMES,
    NO_BINDING,
    OF_SERVER,
    REBIND,
    RECONFIGURE,
    RELAY_REPL,
    RELEASE,
    RENEW,
    REPLY,
    REQUEST,
    SOLICIT,
    SUCCESS,
    Association,
    Lease6,
    Message6,
    Status,
)
from sentinel.dhcp.step import Act

MOST_ADDRESSES: Final = 32

_ACTS: Final = {
    SOLICIT: Act.FIND, REQUEST: Act.TAKE, CONFIRM: Act.REBOOT, RENEW: Act.RENEW,
    REBIND: Act.REBIND, RELEASE: Act.RELEASE, DECLINE: Act.DECLINE,
    INFORMATION_REQUEST: Act.INFORM, RECONFIGURE: Act.WAKE, ADVERTISE: Act.OFFER,
    REPLY: Act.ACK,
}  # fmt: skip
_WITHDRAWN: Final = "valid lifetime 0"


def meaning6(dhcp: Message6) -> Meaning:
    """What the message does; of a relayed one, what the message inside does."""
    name = NAMES[dhcp.type] if dhcp.type < len(NAMES) else f"type {dhcp.type}"
    is_servers = dhcp.type in OF_SERVER or dhcp.type == RELAY_REPL
    if dhcp.relays and (dhcp.relays[0].type == RELAY_REPL) != is_servers:
        # Section 9: servers speak in a Relay-reply, clients in a Relay-forward.
        problem = f"{name} in a relay message of the other way"
        return Meaning(Act.OTHER, name, not is_servers, problems=(problem,))
    act = _ACTS.get(dhcp.type, Act.OTHER)
    if not is_servers:
        asked = (lease for each in dhcp.associations for lease in each.leases)
        return Meaning(act, name, is_servers, _addresses(asked))
    if act not in (Act.ACK, Act.OFFER):
        return Meaning(act, name, is_servers)
    refusal = None if _is_good(dhcp.status) else _said(dhcp.status)
    granted = _granted(dhcp.associations)
    if not granted and refusal is None:
        refusal = _refused_by_all(dhcp)
    if refusal is not None:
        return Meaning(Act.NAK, name, is_servers, note=refusal)
    return Meaning(
        act,
        name,
        is_servers,
        _addresses(lease for _, lease in granted),
        lease_s=max((lease.valid_s for _, lease in granted), default=None),
        t1_s=_earliest(each.t1_s for each, _ in granted),
        t2_s=_earliest(each.t2_s for each, _ in granted),
    )


def _addresses(leases: Iterable[Lease6]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(lease.address for lease in leases))[:MOST_ADDRESSES]


def _earliest(times_s: Iterable[int]) -> int | None:
    """Section 14.2: 0 leaves it to the client; of several the earliest is everybody's."""
    return min((each for each in times_s if each), default=None)


def _is_good(status: Status | None) -> bool:
    """Section 21.13: without a status code it is Success."""
    return status is None or status.code == SUCCESS


def _said(status: Status | None) -> str:
    if status is None:
        return _WITHDRAWN
    return f"{status.name}: {status.message}" if status.message else status.name


def _granted(associations: Iterable[Association]) -> list[tuple[Association, Lease6]]:
    """What a client would use: section 18.2.10.1."""
    return [
        (each, lease)
        for each in associations
        if each.is_valid and _is_good(each.status)
        for lease in each.leases
        if lease.is_valid and lease.valid_s and _is_good(lease.status)
    ]


def _refused_by_all(dhcp: Message6) -> str | None:
    """Why nothing is granted, if each association says why. None: nobody asked, or it is not said.

    The answer to a Release or a Decline of what is not known is Success, and
    NoBinding inside (sections 18.3.7 and 18.3.8).
    """
    reasons: list[str] = []
    for each in dhcp.associations:
        is_answered = dhcp.status is not None and not each.leases
        if not each.is_valid:
            continue
        if not _is_good(each.status):
            if is_answered and each.status is not None and each.status.code == NO_BINDING:
                return None
            reasons.append(_said(each.status))
            continue
        kept = [lease for lease in each.leases if lease.is_valid]
        if not kept:
            return None
        refused = next((lease.status for lease in kept if not _is_good(lease.status)), None)
        reasons.append(_said(refused))
    return reasons[0] if reasons else None
