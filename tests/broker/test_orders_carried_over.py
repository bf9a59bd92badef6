# SPDX-License-Identifier: Apache-2.0
"""Orders come through the broker to the daemon, its answers go back, and nothing else moves."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.broker.test_publish import expect_all
from tests.harness.afar import Principal, principal
from tests.harness.between import PUBLISH, SUBACK, Between, between
from tests.harness.broker import ACL, PUBLISHER, Listener, Mosquitto
from tests.harness.carried import order_of, signed_order
from tests.harness.daemon import Tables
from tests.harness.publisher import Host
from tests.harness.signers import Signer
from tests.harness.waiting import wait_until

RUBBISH, OWN = 10_000, 5
ORDERS = f"tapsentinel/{PUBLISHER}/orders/"


ALICE = Signer("alice")
TAKEN: Tables = {
    "mqtt.orders": {
        "enabled": True,
        "principals": [{"name": "alice", "key": ALICE.public, "may": ["status", "release"]}],
    }
}


def look() -> bytes:
    """An order that asks how the host is doing."""
    return signed_order(ALICE, order_of("status", host=PUBLISHER)).encode()


def release() -> bytes:
    """An order that would change something."""
    return signed_order(ALICE, order_of("release", "tap7", host=PUBLISHER)).encode()


@pytest.fixture(name="alice")
def _alice(broker: Mosquitto) -> Iterator[Principal]:
    with principal(broker, "alice") as alice:
        yield alice


@pytest.fixture(name="ordered")
def _ordered(host: Host, alice: Principal) -> Host:
    """A host that takes orders."""
    host.configure(TAKEN)
    host.start_daemon()
    host.start()
    listens(host, alice)
    return host


def carried(host: Host) -> list[str]:
    return [str(one["message"]) for one in host.carried()]


def listens(host: Host, alice: Principal) -> None:
    """Wait until orders are taken; what it took to know is not counted."""

    def answered() -> bool:
        alice.send(look())
        return bool(alice.answers)

    wait_until(answered, 30, "an answer", 0.5)
    settle(alice)
    (host.directory / "carried").unlink()
    alice.answers.clear()


def settle(alice: Principal) -> None:
    """Orders are carried one after the other: once this one is answered, those before are."""
    alice.ask(look())


def test_an_order_is_carried_and_answered(
    broker: Mosquitto, ordered: Host, alice: Principal
) -> None:
    message = release()
    answer = alice.ask(message)
    assert answer["result"] == {"port": "tap7", "state": "watched"}
    assert alice.answers[0][0] == alice.answer_topic
    (one,) = ordered.carried()
    assert one == {
        "what": "order",
        "message": message.decode(),
        "via": f"127.0.0.1:{broker.port}",
    }


def test_who_wants_no_answer_gets_none(ordered: Host, alice: Principal) -> None:
    message = release()
    alice.send(message, answer_topic="")
    wait_until(lambda: carried(ordered) == [message.decode()], 20, "the order")
    settle(alice)
    assert len(alice.answers) == 1


def test_a_retained_order_is_a_replay(ordered: Host, alice: Principal) -> None:
    alice.send(release(), retain=True)
    ordered.wait_for("1 orders were left out (1 retained)")
    # Whoever subscribes is given it: so is the next publisher, which asked for none.
    ordered.stop()
    ordered.start()
    listens(ordered, alice)
    settle(alice)
    assert len(carried(ordered)) == 1


@pytest.mark.parametrize(
    "elsewhere",
    [f"tapsentinel/{PUBLISHER}/status", f"tapsentinel/{PUBLISHER}/answers/bob/1", "x", "a/#"],
)
def test_an_answer_goes_nowhere_else(
    ordered: Host, listener: Listener, alice: Principal, elsewhere: str
) -> None:
    alice.send(release(), answer_topic=elsewhere)
    ordered.wait_for("1 with an answer to a topic not the sender's")
    settle(alice)
    assert len(carried(ordered)) == 1
    topics = {topic for topic, payload, _ in listener.messages if b'"result"' in payload}
    assert topics == {alice.answer_topic}


def test_nobody_orders_on_another_s_topic(
    broker: Mosquitto, ordered: Host, alice: Principal
) -> None:
    overheard = release()
    with principal(broker, "mallory") as mallory:
        assert "Not authorized" in mallory.told(mallory.send(overheard, topic=ORDERS + "alice"))
        mallory.send(overheard)
        ordered.wait_for("1 in another's name than the topic's")
        assert mallory.answers == []
    settle(alice)
    assert len(carried(ordered)) == 1


def test_what_a_broker_delivers_twice_comes_twice_and_says_the_same(
    broker: Mosquitto, host: Host, alice: Principal
) -> None:
    """The daemon does it once; here both are carried, and none is lost for being a duplicate."""
    proxy = Between(broker.plain_port)

    def twice(packet: bytes) -> bytes:
        is_one = packet[0] >> 4 == PUBLISH and b"/orders/alice" in packet
        return packet + bytes([packet[0] | 0x08]) + packet[1:] if is_one else packet

    proxy.spoil = twice
    with between(proxy.serve) as port:
        host.configure(TAKEN, port=port, tls=False, ca_file="", cert_file="", key_file="")
        host.start_daemon()
        host.start()
        listens(host, alice)
        alice.send(release(), correlation=b"7")
        wait_until(lambda: len(alice.answers_to(b"7")) == 2, 20, "both answers")
    first, second = alice.answers_to(b"7")
    assert first == second
    assert len(set(carried(host))) == 1


@contextlib.contextmanager
def flood_of_rubbish(broker: Mosquitto) -> Iterator[list[int]]:
    """Orders in the name of somebody who is not known, without end; how many so far."""
    sent = [0]
    ending = threading.Event()

    def send(mallory: Principal) -> None:
        while not ending.is_set():
            rubbish = b'{"by":"mallory","payload":"%d","signature":"x"}'
            mids = [mallory.send(rubbish % (sent[0] + number)) for number in range(100)]
            mallory.told(mids[-1])
            sent[0] += 100

    with principal(broker, "mallory") as mallory:
        thread = threading.Thread(target=send, args=(mallory,))
        thread.start()
        try:
            yield sent
        finally:
            ending.set()
            thread.join()


def test_rubbish_keeps_nothing_from_flowing(
    broker: Mosquitto, ordered: Host, listener: Listener, alice: Principal
) -> None:
    before = memory_bytes(ordered.publisher_pid)
    began = time.monotonic()
    with flood_of_rubbish(broker) as sent:
        ordered.ask_for(2000, 0)
        wait_until(lambda: len(carried(ordered)) >= 100, 30, "the rate to be used up")
        expect_all(listener, 2000)
        events_s = time.monotonic() - began
        ordered.appended(2000)
        asked = time.monotonic()
        for _ in range(OWN):
            answer = alice.ask(release())
            assert answer["result"]["port"] == "tap7", "who is known has a rate of its own"
        asked_s = time.monotonic() - asked
        wait_until(lambda: sent[0] >= RUBBISH, 60, "the broker to take it all", 0.1)
    ordered.wait_for("orders were left out (")
    wait_until(lambda: ordered.status()["mqtt"]["lag"] == 0, 20, "no lag", 0.1)
    rubbish = len(carried(ordered)) - OWN
    took_s = time.monotonic() - began
    assert rubbish <= 100 + 20 * took_s + 1
    grown = memory_bytes(ordered.publisher_pid) - before
    print(
        f"2000 events in {events_s:.1f} s, {OWN} orders in {asked_s:.1f} s beside {sent[0]} orders "
        f"of rubbish, memory {grown >> 10} KiB"
    )
    assert grown < 8 << 20
    assert ordered.status()["mqtt"]["connects"] == 1


def test_a_daemon_that_is_away_is_said(ordered: Host, alice: Principal) -> None:
    ordered.kill_daemon()
    answer = alice.ask(release())
    assert answer["error"]["code"] == "no_daemon"
    assert "no daemon answers" in answer["error"]["message"]


def test_without_the_word_of_the_configuration_nothing_is_taken(
    host: Host, alice: Principal
) -> None:
    host.start_daemon()
    host.start()
    wait_until(lambda: host.status()["mqtt"].get("state") == "connected", 30, "it", 0.1)
    mid = alice.send(look())
    assert "No matching subscribers" in alice.told(mid)


def test_a_broker_that_gives_no_orders_hinders_no_events(
    broker: Mosquitto, listener: Listener, host: Host
) -> None:
    proxy = Between(broker.plain_port)
    not_authorized = 0x87

    def refuse(packet: bytes) -> bytes:
        return packet[:-1] + bytes([not_authorized]) if packet[0] >> 4 == SUBACK else packet

    proxy.spoil = refuse
    with between(proxy.serve) as port:
        host.configure(TAKEN, port=port, tls=False, ca_file="", cert_file="", key_file="")
        host.start_daemon()
        host.append(500)
        host.start()
        host.wait_for("the broker gives us no orders (Not authorized): see its ACL for")
        expect_all(listener, 500)
        assert host.status()["mqtt"]["connects"] == 1


def test_a_broker_that_ends_the_connection_instead_hinders_no_events(
    broker: Mosquitto, listener: Listener, host: Host
) -> None:
    proxy = Between(broker.plain_port)
    # DISCONNECT with Not authorized (MQTT 5.0 §3.14).
    proxy.spoil = lambda packet: b"\xe0\x01\x87" if packet[0] >> 4 == SUBACK else packet
    with between(proxy.serve) as port:
        host.configure(TAKEN, port=port, tls=False, ca_file="", cert_file="", key_file="")
        host.start_daemon()
        host.append(500)
        host.start()
        host.wait_for(f"the broker ends connections over which we subscribe to {ORDERS}+")
        wait_until(lambda: len(set(listener.ids)) == 500, 30, "the events")
        host.append(500)
        wait_until(lambda: len(set(listener.ids)) == 1000, 30, "the events")
        assert host.status()["mqtt"]["connects"] == 3


def test_a_broker_of_before_knows_no_orders(
    broker: Mosquitto, listener: Listener, host: Host
) -> None:
    proxy = Between(broker.plain_port, old=True)
    with between(proxy.serve) as port:
        host.configure(TAKEN, port=port, tls=False, ca_file="", cert_file="", key_file="")
        host.start_daemon()
        host.append(500)
        host.start()
        host.wait_for("orders need MQTT 5, and the broker speaks 3.1.1")
        expect_all(listener, 500)


def test_answers_that_the_broker_refuses_are_said(
    broker: Mosquitto, host: Host, alice: Principal, listener: Listener
) -> None:
    own = f"topic write tapsentinel/{PUBLISHER}/"
    broker.rewrite_acl(ACL.replace(f"{own}#", f"{own}events/#\n{own}status"))
    host.configure(TAKEN)
    host.start_daemon()
    host.start()
    wait_until(lambda: listener.on("/status"), 30, "the publisher")

    def ordered() -> bool:
        alice.send(look())
        return "the broker refuses answers to orders (Not authorized)" in str(host.status())

    wait_until(ordered, 30, "the complaint", 0.5)
    host.append(500)
    expect_all(listener, 500)


def memory_bytes(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) * 1024
