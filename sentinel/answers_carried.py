# SPDX-License-Identifier: Apache-2.0
"""What the daemon does with what came over MQTT: orders and notices, once they are proved.

Who brings them is believed nothing: a signature says who ordered, and what.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

from sentinel import envelope, signed
from sentinel.config_mqtt import MqttConfig
from sentinel.effect import Effect, Log
from sentinel.errors import JournalError, RefusedError, TapsentinelError
from sentinel.event_carried import NOTICE, order_done, refused
from sentinel.fleet import issued, watch_list
from sentinel.fleet.notice import Notice, read_notice
from sentinel.inventory import Device
from sentinel.keyfile import fleet_key
from sentinel.orders import answered as answered_orders
from sentinel.orders import order as documents
from sentinel.orders.answered import Answered
from sentinel.orders.order import Order, OrderPayload, order_for, read_order
from sentinel.orders.principals import Principals
from sentinel.protocol import code_of
from sentinel.refusals import Refusal, Refusals

if TYPE_CHECKING:
    from sentinel.answers import Answers
    from sentinel.daemon import Daemon

_log = logging.getLogger("tapsentinel")


class Carried:
    """Orders and notices of one daemon."""

    def __init__(self, daemon: Daemon, answers: Answers) -> None:
        """Raises ConfigError if mqtt.fleet.key_file is not root's alone, or no key."""
        self._daemon = daemon
        self._answers = answers
        self._answered = Answered()
        self._refusals = Refusals()
        self._done = self._repeated = self._taken = 0
        mqtt = daemon.config.mqtt
        self.reconfigure(mqtt, fleet_key(mqtt.fleet, daemon.config_file))

    def reconfigure(self, mqtt: MqttConfig, private_pem: bytes) -> None:
        """Go by other principals, hosts and actions; `private_pem` signs from now on."""
        self._orders, self._fleet = mqtt.orders, mqtt.fleet
        self._principals = Principals(mqtt.orders.principals)
        self._hosts = mqtt.fleet.keys()
        self._private_pem = private_pem
        self._signed: dict[str, tuple[Notice, str]] = {}
        if mqtt.orders.enabled or mqtt.fleet.follow:
            signed.prepare()

    async def load(self) -> None:
        """Take what an earlier daemon kept."""
        now_ns = time.time_ns()
        fleet = self._daemon.engine.fleet
        try:
            # Whether it is used now or not: a changed configuration may ask for it later.
            orders, known, given = await self._daemon.scribe.ask(
                lambda journal: [
                    journal.memos(kind)
                    for kind in (answered_orders.KIND, watch_list.KIND, issued.KIND)
                ]
            )
            self._daemon.apply(self._answered.load(orders, now_ns))
            fleet.known.load(known, now_ns)
            fleet.issued.load(given, now_ns)
        except JournalError as unreadable:
            _log.error("orders and notices of before are not known: %s", unreadable)
            self._daemon.apply(self._answered.load([], now_ns))

    async def order(self, message: str, via: str) -> dict[str, Any]:
        """Open an order and carry it out; the document that answers it."""
        now_ns, host = time.time_ns(), self._daemon.host
        by, says = "", None
        try:
            if not self._orders.enabled:
                raise RefusedError("orders over MQTT are off on this host (mqtt.orders.enabled)")
            by, payload = signed.opened(
                message.encode(), self._principals.keys, signed.ORDER_DOMAIN
            )
            says = read_order(payload)
            order = order_for(by, says, host, now_ns, self._orders.longest_ns)
            self._principals.refuse_unless_may(order)
            if says.op == "status":
                return await self._look(order, via, now_ns)
            earlier = self._answered.earlier(order)
            if earlier is None:
                return await self._carry_out(order, via, now_ns)
        except TapsentinelError as error:
            self._refuse(by, says, via, str(error))
            order_id = None if says is None else str(says.id)
            return documents.refused(order_id, host, now_ns, code_of(error), str(error))
        self._repeated += 1
        if earlier:
            return {**earlier, "repeated": True}
        problem = "it was begun before, and what became of it is not known: ask for the status"
        return documents.refused(order.id, host, now_ns, envelope.INTERNAL, problem, repeated=True)

    async def _look(self, order: Order, via: str, now_ns: int) -> dict[str, Any]:
        """The status of now, whoever asks how often: it changes nothing."""
        port = order.says.port
        result = self._answers.port(port) if port else await self._answers.status()
        is_repeated = self._answered.look(order)
        if is_repeated:
            self._repeated += 1
        else:
            self._done += 1
            self._daemon.apply([Log(order_done(now_ns, order, via, changed=False))])
        return documents.answered(order.id, self._daemon.host, now_ns, result, repeated=is_repeated)

    async def _carry_out(self, order: Order, via: str, now_ns: int) -> dict[str, Any]:
        """Remember it on the disk, do it, remember what became of it."""
        begun = self._answered.take(order)
        if not await self._daemon.scribe.persist([begun]):
            self._daemon.apply([self._answered.drop(order)])
            raise RefusedError(
                "the journal cannot be written, so it could not be told from a repeated one "
                "after a restart: give it on the host itself, where `tapsentinel status` says why"
            )
        says, host = order.says, self._daemon.host
        reason = f"{order.by}: {says.reason or 'by order over MQTT'}"
        effects: list[Effect] = []
        try:
            if says.op == "quarantine":
                result = await self._answers.cut(says.port, says.for_ns, reason, None)
            else:
                result = await self._answers.open(says.port, reason, None)
        except TapsentinelError as error:
            answer = documents.refused(order.id, host, now_ns, code_of(error), str(error))
            self._refuse(order.by, says, via, str(error))
        else:
            answer = documents.answered(order.id, host, now_ns, result)
            self._done += 1
            effects.append(Log(order_done(now_ns, order, via, changed=bool(result["changed"]))))
        await self._daemon.scribe.persist([self._answered.done(order, answer), *effects])
        return answer

    def _refuse(self, by: str, says: OrderPayload | None, via: str, problem: str) -> None:
        self._note(
            Refusal(
                what="order" if says is None else says.op,
                by=by,
                sender="" if says is None else says.sender,
                id="" if says is None else str(says.id),
                via=via,
                port=(says.port or None) if says is not None else None,
                problem=problem,
            )
        )

    def _note(self, refusal: Refusal) -> None:
        now_ns = time.time_ns()
        told = self._refusals.note(refusal, time.monotonic_ns())
        self._daemon.apply([Log(refused(now_ns, one)) for one in told])

    async def notice(self, message: str, via: str) -> dict[str, Any]:
        """Take another host's notice: whether, and why not."""
        daemon, now_ns = self._daemon, time.time_ns()
        fleet = daemon.engine.fleet
        if not self._fleet.follow:
            return _not_taken("notices of other hosts are not followed (mqtt.fleet.follow)")
        by = ""
        try:
            encoded = message.encode()
            if signed.named(encoded) == daemon.host:
                return _not_taken("it is this host's own")
            by, payload = signed.opened(encoded, self._hosts, signed.NOTICE_DOMAIN)
            notice = read_notice(by, payload, now_ns, self._fleet.longest_ns)
            if fleet.known.is_old(notice):
                return _not_taken("this, or a later state of it, is known already")
            effects = list(fleet.take(notice, now_ns))
        except RefusedError as error:
            self._note(Refusal(NOTICE, by, "", "", via, None, str(error)))
            return _not_taken(str(error))
        self._taken += 1
        daemon.settle_newcomers()
        await daemon.scribe.persist(effects)
        return {"taken": True, "why": ""}

    def notices(self) -> list[dict[str, Any]]:
        """This host's own, signed; each is signed once."""
        fresh = {}
        for notice in self._daemon.engine.fleet.issued.current():
            known = self._signed.get(notice.id)
            if known is None or known[0] != notice:
                message = signed.sign(
                    self._private_pem, notice.host, signed.NOTICE_DOMAIN, notice.to_payload()
                )
                known = (notice, message.decode())
            fresh[notice.id] = known
        self._signed = fresh
        return [
            {
                "id": notice.id,
                "message": message,
                "expires_wall_ns": notice.valid.expires_ns,
                "withdrawn": notice.withdrawn,
            }
            for notice, message in fresh.values()
        ]

    def tick(self, now_ns: int) -> None:
        """Forget what is over; tell of refusals that waited."""
        told = [Log(refused(now_ns, one)) for one in self._refusals.due(time.monotonic_ns())]
        effects = [*self._answered.expire(now_ns), *told]
        if effects:
            self._daemon.apply(effects)

    def orders_document(self) -> dict[str, Any]:
        """What `status` says of orders over MQTT."""
        return {
            "enabled": self._orders.enabled,
            "principals": len(self._orders.principals),
            "done": self._done,
            "repeated": self._repeated,
            "refused": self._refusals.count,
            "remembered": len(self._answered),
        }

    def fleet_document(self) -> dict[str, Any]:
        """What `status` says of notices."""
        fleet = self._daemon.engine.fleet
        return {
            "publish": self._fleet.publish,
            "follow": self._fleet.follow,
            "action": self._fleet.action,
            "issued": len(fleet.issued),
            "known": fleet.known.current(),
            "taken": self._taken,
            "matched": fleet.matched,
            "waiting": fleet.waiting,
        }

    def known_document(self, device: Device) -> dict[str, Any] | None:
        """What `show` says: the notice that a port's VM is known from; None: none."""
        if not self._fleet.follow:
            return None
        notice = self._daemon.engine.fleet.known.match(device.vm)
        return None if notice is None else {"id": notice.id, **notice.to_state()}


def _not_taken(why: str) -> dict[str, Any]:
    return {"taken": False, "why": why}
