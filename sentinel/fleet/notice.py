# SPDX-License-Identifier: Apache-2.0
"""A notice: a guest that a host cut for cause, as that host's daemon signs it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal
from uuid import UUID

import msgspec

from sentinel.durations import SECOND_NS
from sentinel.errors import RefusedError
from sentinel.event import rfc3339
from sentinel.validity import SKEW_NS, Validity, read_validity
from sentinel.vm import VmIdentity, clean_mac, clean_uuid

VERSION: Final = 1
MOST_MACS: Final = 16
CHECKS: Final = ("bpdu", "vlan", "size", "rogue_dhcp", "dhcp_flood")
LONGEST_REASON_CHARS: Final = 200

_Text = Annotated[str, msgspec.Meta(max_length=64)]


class NoticeVm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whom it is about: an instance's UUID, the MACs that its host gave it."""

    uuid: _Text | None = None
    macs: Annotated[tuple[_Text, ...], msgspec.Meta(max_length=MOST_MACS)] = ()


class NoticePayload(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is signed."""

    version: Literal[1] = VERSION
    id: UUID
    host: Annotated[str, msgspec.Meta(min_length=1, max_length=253)]
    vm: NoticeVm
    cause: Literal["bpdu", "vlan", "size", "rogue_dhcp", "dhcp_flood"]
    reason: Annotated[str, msgspec.Meta(max_length=LONGEST_REASON_CHARS)] = ""
    issued: str
    expires: str
    withdrawn: bool = False


@dataclass(frozen=True, slots=True)
class Notice:
    """A notice, its identities clean and its moments read."""

    id: str
    host: str
    uuid: str | None
    macs: tuple[str, ...]
    cause: str
    reason: str
    valid: Validity
    withdrawn: bool = False

    def matches(self, vm: VmIdentity) -> bool:
        """Whether a port's VM is this one: by UUID, by MAC only where one side has none."""
        if self.uuid is not None and vm.uuid is not None:
            return self.uuid == vm.uuid
        return vm.mac is not None and vm.mac in self.macs

    def to_state(self) -> dict[str, Any]:
        """As the journal keeps it."""
        return {
            "host": self.host,
            "uuid": self.uuid,
            "macs": list(self.macs),
            "cause": self.cause,
            "reason": self.reason,
            "issued_ns": self.valid.issued_ns,
            "expires_ns": self.valid.expires_ns,
            "withdrawn": self.withdrawn,
        }

    def to_payload(self) -> bytes:
        """As it is to be signed."""
        return msgspec.json.encode(
            NoticePayload(
                id=UUID(self.id),
                host=self.host,
                vm=NoticeVm(self.uuid, self.macs),
                cause=self.cause,  # type: ignore[arg-type]
                reason=self.reason,
                issued=rfc3339(self.valid.issued_ns),
                expires=rfc3339(self.valid.expires_ns),
                withdrawn=self.withdrawn,
            )
        )


class _State(msgspec.Struct, frozen=True):
    host: str
    uuid: str | None
    macs: tuple[str, ...]
    cause: Literal["bpdu", "vlan", "size", "rogue_dhcp", "dhcp_flood"]
    reason: str
    issued_ns: int
    expires_ns: int
    withdrawn: bool


_decoder: msgspec.json.Decoder[NoticePayload] = msgspec.json.Decoder(NoticePayload)


def read_notice(by: str, payload: bytes, now_ns: int, longest_ns: int) -> Notice:
    """The notice in a payload that `by` has signed.

    Raises RefusedError, with why, for one that is another host's or not for now.
    """
    try:
        says = _decoder.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RefusedError(f"it is no notice: {str(error)[:LONGEST_REASON_CHARS]}") from None
    if says.host != by:
        raise RefusedError(f"it is signed by {by!r} in the name of {says.host!r}")
    uuid = clean_uuid(says.vm.uuid)
    if says.vm.uuid is not None and uuid is None:
        raise RefusedError(f"{says.vm.uuid!r} is no UUID of an instance")
    macs = tuple(mac for mac in map(clean_mac, says.vm.macs) if mac is not None and is_own(mac))
    if len(macs) < len(says.vm.macs):
        raise RefusedError("it names a MAC that no guest can have")
    if uuid is None and not macs:
        raise RefusedError("it names neither a UUID nor a MAC")
    valid = read_validity(
        says.issued, says.expires, now_ns, longest_ns, "mqtt.fleet.longest", SKEW_NS + SECOND_NS
    )
    return Notice(
        str(says.id), says.host, uuid, macs, says.cause, says.reason, valid, says.withdrawn
    )


def notice_of_state(notice_id: str, state: object) -> Notice | None:
    """What the journal kept; None if it is damaged."""
    try:
        kept = msgspec.convert(state, _State)
        UUID(notice_id)
    except (msgspec.ValidationError, ValueError):
        return None
    valid = Validity(kept.issued_ns, kept.expires_ns)
    return Notice(
        notice_id, kept.host, kept.uuid, kept.macs, kept.cause, kept.reason, valid, kept.withdrawn
    )


def is_own(mac: str) -> bool:
    """Whether a MAC can be one guest's: no group's, not all zero (IEEE 802-2014 §8.2.2)."""
    return not int(mac[:2], 16) & 1 and mac != "00:00:00:00:00:00"
