# SPDX-License-Identifier: Apache-2.0
"""Orders that were taken up, until they would have expired: none is carried out twice.

A carrier may deliver an order as often as it likes, before and after a restart.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sentinel.effect import Effect, ForgetMemo, KeepMemo
from sentinel.errors import RefusedError
from sentinel.orders.order import Order

KIND: Final = "order"
MOST_ORDERS: Final = 4096
MOST_OF_ONE: Final = 1024
"""Of one principal: who orders much leaves room for the others."""
MOST_LOOKS: Final = 1024
BEGINNING: Final = "since"
"""The key of the memo that says since when orders are remembered."""
_FOREVER_NS: Final = 2**62

_Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class _Taken:
    expires_ns: int
    answer: Mapping[str, Any] | None
    """None: not answered yet, or not before a daemon ended."""


class Answered:
    """Ids of orders by principal, with what was answered."""

    def __init__(self) -> None:
        self._taken: dict[_Key, _Taken] = {}
        self._of_one: Counter[str] = Counter()
        self._looks: OrderedDict[_Key, None] = OrderedDict()
        self._since_ns = 0
        self._latest_ns = 0
        """The latest moment at which orders were forgotten."""

    def __len__(self) -> int:
        return len(self._taken)

    def load(
        self, memos: Iterable[tuple[str, int, Mapping[str, Any]]], now_ns: int
    ) -> Iterator[Effect]:
        """Take what an earlier daemon kept: (key, end, state).

        Where nothing says since when orders are remembered, the memory is lost, or
        there was none: it is from now on, and older orders count no more.
        """
        since_ns: int | None = None
        for key, until_ns, state in memos:
            if key == BEGINNING:
                since_ns = _number(state.get("since_ns"))
                continue
            by, _, order_id = key.rpartition(" ")
            if until_ns > now_ns and len(self._taken) < MOST_ORDERS:
                answer = state.get("answer")
                kept = answer if isinstance(answer, Mapping) and answer else None
                self._put((by, order_id), _Taken(until_ns, kept))
        if since_ns is None or since_ns > now_ns:
            since_ns = now_ns
            yield KeepMemo(KIND, BEGINNING, _FOREVER_NS, {"since_ns": since_ns})
        self._since_ns, self._latest_ns = since_ns, now_ns

    def look(self, order: Order) -> bool:
        """Take note of an order that changes nothing; whether it was seen before."""
        key = (order.by, order.id)
        is_known = key in self._looks
        self._looks[key] = None
        while len(self._looks) > MOST_LOOKS:
            self._looks.popitem(last=False)
        return is_known

    def earlier(self, order: Order) -> Mapping[str, Any] | None:
        """What was answered to this order before; empty: it was begun. None: it is new."""
        taken = self._taken.get((order.by, order.id))
        return None if taken is None else taken.answer or {}

    def take(self, order: Order) -> KeepMemo:
        """Remember an order before it is carried out.

        Raises RefusedError if there is no room, or it may have been carried out already.
        """
        if order.valid.issued_ns < self._since_ns:
            raise RefusedError(
                "it was issued before this host began to remember orders, so whether it was "
                "carried out before is not known: give it again"
            )
        if order.valid.expires_ns <= self._latest_ns:
            raise RefusedError(
                "it has expired before this host's clock was set back, so whether it was carried "
                "out is not known any more: give it again"
            )
        if len(self._taken) >= MOST_ORDERS or self._of_one[order.by] >= MOST_OF_ONE:
            raise RefusedError(
                f"{self._of_one[order.by]} orders of {order.by} and {len(self._taken)} in all "
                "have not expired yet, which is as many as are remembered: wait, or let them "
                "expire sooner"
            )
        return self._keep(order, None)

    def done(self, order: Order, answer: Mapping[str, Any]) -> KeepMemo:
        """Remember what was answered."""
        return self._keep(order, answer)

    def drop(self, order: Order) -> ForgetMemo:
        """Forget an order that was not begun."""
        self._remove((order.by, order.id))
        return ForgetMemo(KIND, f"{order.by} {order.id}")

    def expire(self, now_ns: int) -> Iterator[Effect]:
        """Forget what would be refused by now anyway."""
        self._latest_ns = max(self._latest_ns, now_ns)
        for key in [key for key, one in self._taken.items() if one.expires_ns <= now_ns]:
            self._remove(key)
            yield ForgetMemo(KIND, f"{key[0]} {key[1]}")

    def _keep(self, order: Order, answer: Mapping[str, Any] | None) -> KeepMemo:
        taken = _Taken(order.valid.expires_ns, answer)
        self._put((order.by, order.id), taken)
        state = {} if answer is None else {"answer": dict(answer)}
        return KeepMemo(KIND, f"{order.by} {order.id}", taken.expires_ns, state)

    def _put(self, key: _Key, taken: _Taken) -> None:
        if key not in self._taken:
            self._of_one[key[0]] += 1
        self._taken[key] = taken

    def _remove(self, key: _Key) -> None:
        del self._taken[key]
        self._of_one[key[0]] -= 1


def _number(value: object) -> int | None:
    return value if isinstance(value, int) else None
