# SPDX-License-Identifier: Apache-2.0
"""This host's own notices: of guests that a check cut here, until they expire."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final
from uuid import NAMESPACE_URL, uuid5

from sentinel.effect import Effect, ForgetMemo, KeepMemo, Log
from sentinel.event import Quarantine
from sentinel.event_carried import notice_issued
from sentinel.fleet.notice import LONGEST_REASON_CHARS, Notice, is_own, notice_of_state
from sentinel.validity import Validity
from sentinel.vm import VmIdentity

KIND: Final = "issued"
MOST_NOTICES: Final = 256
KNOWN_FROM: Final = "known from "
"""How the reason of a cut begins that another host's notice brought about."""


class Issued:
    """Notices by id. Who is told of again keeps its notice, issued anew."""

    def __init__(self, host: str, longest_ns: int) -> None:
        self._host = host
        self.longest_ns = longest_ns
        """How long a notice holds."""
        self._notices: dict[str, Notice] = {}

    def __len__(self) -> int:
        return len(self._notices)

    def current(self) -> list[Notice]:
        """All that have not expired, the withdrawn ones among them."""
        return list(self._notices.values())

    def load(self, memos: Iterable[tuple[str, int, Mapping[str, Any]]], now_ns: int) -> None:
        """Take what an earlier daemon kept: (key, end, state)."""
        for key, until_ns, state in memos:
            notice = notice_of_state(key, state)
            is_ours = notice is not None and notice.host == self._host
            if notice is not None and is_ours and until_ns > now_ns:
                self._notices[key] = notice

    def cut(self, cut: Quarantine, now_ns: int) -> Iterator[Effect]:
        """A port was cut: give notice of its VM, if there is cause to.

        Not of an order, which is this host's own affair, nor of what another host's
        notice brought about, which would echo.
        """
        if cut.cause == "order" or cut.reason.startswith(KNOWN_FROM):
            return
        macs = (cut.vm.mac,) if cut.vm.mac is not None and is_own(cut.vm.mac) else ()
        if cut.vm.uuid is None and not macs:
            return
        before = self._about(cut.vm)
        is_told = before is not None and before.valid.issued_ns >= cut.since_wall_ns
        if before is not None and is_told and not before.withdrawn:
            return
        issued_ns = now_ns if before is None else max(now_ns, before.valid.issued_ns + 1_000)
        notice = Notice(
            id=self._new_id(cut) if before is None else before.id,
            host=self._host,
            uuid=cut.vm.uuid,
            macs=macs,
            cause=cut.cause,
            reason=cut.reason[:LONGEST_REASON_CHARS],
            valid=Validity(issued_ns, issued_ns + self.longest_ns),
        )
        if before is None and len(self._notices) >= MOST_NOTICES:
            yield from self._make_room()
        yield from self._issue(notice, cut.port, cut.ifindex, cut.vm)

    def released(self, vm: VmIdentity, port: str, now_ns: int) -> Iterator[Effect]:
        """An operator released a VM: say so to who has heard of it."""
        notice = self._about(vm)
        if notice is None or notice.withdrawn:
            return
        issued_ns = max(now_ns, notice.valid.issued_ns + 1_000)
        valid = Validity(issued_ns, max(notice.valid.expires_ns, issued_ns + 1_000))
        yield from self._issue(replace(notice, valid=valid, withdrawn=True), port, None, vm)

    def expire(self, now_ns: int) -> Iterator[Effect]:
        """Forget what is over."""
        for notice in self.current():
            if notice.valid.expires_ns <= now_ns:
                del self._notices[notice.id]
                yield ForgetMemo(KIND, notice.id)

    def _issue(
        self, notice: Notice, port: str, ifindex: int | None, vm: VmIdentity
    ) -> Iterator[Effect]:
        self._notices[notice.id] = notice
        yield KeepMemo(KIND, notice.id, notice.valid.expires_ns, notice.to_state())
        yield Log(notice_issued(notice, port, ifindex, vm))

    def _new_id(self, cut: Quarantine) -> str:
        whose = f"{cut.vm.uuid}/{cut.vm.mac}/{cut.since_wall_ns}"
        return str(uuid5(NAMESPACE_URL, f"tapsentinel:{self._host}/{whose}"))

    def _about(self, vm: VmIdentity) -> Notice | None:
        return next((one for one in self._notices.values() if one.matches(vm)), None)

    def _make_room(self) -> Iterator[Effect]:
        """The one that matters least goes: withdrawn, or else the first to expire."""
        least = min(
            self._notices.values(), key=lambda one: (not one.withdrawn, one.valid.expires_ns)
        )
        del self._notices[least.id]
        yield ForgetMemo(KIND, least.id)
