# SPDX-License-Identifier: Apache-2.0
"""Who may order what, and at which ports."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

from sentinel.config_orders import Principal
from sentinel.errors import RefusedError
from sentinel.orders.order import Order


class Principals:
    """Those that the configuration names."""

    def __init__(self, principals: Iterable[Principal]) -> None:
        self._by_name = {one.name: one for one in principals}
        self.keys = {one.name: one.key for one in self._by_name.values()}
        """Public keys by name."""

    def refuse_unless_may(self, order: Order) -> None:
        """Raise RefusedError unless the order's principal may give it."""
        says, one = order.says, self._by_name[order.by]
        if says.op not in one.may:
            raise RefusedError(f"{one.name} may not order {says.op}: see mqtt.orders.principals")
        if says.port and not any(fnmatchcase(says.port, pattern) for pattern in one.ports):
            raise RefusedError(
                f"{one.name} may not order {says.op} of {says.port}: its ports in "
                f"mqtt.orders.principals are {', '.join(one.ports)}"
            )
