# SPDX-License-Identifier: Apache-2.0
"""Guests that other hosts gave notice of: looked for here, until the notice expires.

An entry that was withdrawn, or forgotten by an order given here, stays as one that
matches nothing: an older state of it may be delivered again at any time.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from sentinel.effect import Effect, ForgetMemo, KeepMemo
from sentinel.errors import RefusedError
from sentinel.fleet.notice import Notice, notice_of_state
from sentinel.validity import Validity
from sentinel.vm import VmIdentity

KIND: Final = "known"
MOST_NOTICES: Final = 4096
MOST_OF_ONE: Final = 256
FORGOTTEN: Final = "forgotten"


@dataclass(frozen=True, slots=True)
class _Entry:
    notice: Notice
    is_forgotten: bool = False
    """By an order that was given here."""

    @property
    def counts(self) -> bool:
        return not self.is_forgotten and not self.notice.withdrawn


class WatchList:
    """Notices by host and id, and by what they are looked for."""

    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}
        self._of_one: Counter[str] = Counter()
        self._by_mark: defaultdict[str, set[str]] = defaultdict(set)
        """Keys of entries by UUID and by MAC."""

    def __len__(self) -> int:
        return len(self._entries)

    def current(self) -> int:
        """How many are looked for."""
        return sum(1 for one in self._entries.values() if one.counts)

    def load(self, memos: Iterable[tuple[str, int, Mapping[str, Any]]], now_ns: int) -> None:
        """Take what an earlier daemon kept: (key, end, state)."""
        for key, until_ns, state in memos:
            notice = notice_of_state(key.rpartition(" ")[2], state)
            if notice is None or until_ns <= now_ns or len(self._entries) >= MOST_NOTICES:
                continue
            self._put(_Entry(notice, state.get(FORGOTTEN) is True))

    def is_old(self, notice: Notice) -> bool:
        """Whether this or a later state of it is known."""
        before = self._entries.get(_key(notice))
        return before is not None and notice.valid.issued_ns <= before.notice.valid.issued_ns

    def take(self, notice: Notice) -> Iterator[Effect]:
        """Take a notice; one that is old changes nothing. Raises RefusedError without room."""
        if self.is_old(notice):
            return
        key = _key(notice)
        before = self._entries.get(key)
        if before is None and (
            len(self._entries) >= MOST_NOTICES or self._of_one[notice.host] >= MOST_OF_ONE
        ):
            raise RefusedError(
                f"{self._of_one[notice.host]} notices of {notice.host} and "
                f"{len(self._entries)} in all are known, which is as many as there may be"
            )
        if before is not None:
            # An earlier state must not outlive what took its place.
            expires_ns = max(notice.valid.expires_ns, before.notice.valid.expires_ns)
            notice = replace(notice, valid=Validity(notice.valid.issued_ns, expires_ns))
            self._remove(key)
        entry = _Entry(notice)
        self._put(entry)
        yield _keep(entry)

    def match(self, vm: VmIdentity) -> Notice | None:
        """The notice that counts for a VM, the latest of several."""
        keys: set[str] = set()
        for mark in (vm.uuid, vm.mac):
            if mark is not None and mark in self._by_mark:
                keys |= self._by_mark[mark]
        found = [
            one.notice
            for one in map(self._entries.__getitem__, keys)
            if one.counts and one.notice.matches(vm)
        ]
        return max(found, key=lambda one: one.valid.issued_ns, default=None)

    def forget(self, notice: Notice) -> KeepMemo:
        """What an operator here released: a notice that is known counts no more."""
        entry = _Entry(notice, is_forgotten=True)
        self._entries[_key(notice)] = entry
        return _keep(entry)

    def expire(self, now_ns: int) -> Iterator[Effect]:
        """Forget what is over."""
        over = [key for key, one in self._entries.items() if one.notice.valid.expires_ns <= now_ns]
        for key in over:
            self._remove(key)
            yield ForgetMemo(KIND, key)

    def _put(self, entry: _Entry) -> None:
        key = _key(entry.notice)
        self._entries[key] = entry
        self._of_one[entry.notice.host] += 1
        for mark in _marks(entry.notice):
            self._by_mark[mark].add(key)

    def _remove(self, key: str) -> None:
        notice = self._entries.pop(key).notice
        self._of_one[notice.host] -= 1
        for mark in _marks(notice):
            self._by_mark[mark].discard(key)
            if not self._by_mark[mark]:
                del self._by_mark[mark]


def _key(notice: Notice) -> str:
    # Ids are their host's own: another host's notice of the same id is another notice.
    return f"{notice.host} {notice.id}"


def _marks(notice: Notice) -> tuple[str, ...]:
    return (*((notice.uuid,) if notice.uuid else ()), *notice.macs)


def _keep(entry: _Entry) -> KeepMemo:
    notice = entry.notice
    state = notice.to_state() | {FORGOTTEN: entry.is_forgotten}
    return KeepMemo(KIND, _key(notice), notice.valid.expires_ns, state)
