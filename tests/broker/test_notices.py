# SPDX-License-Identifier: Apache-2.0
"""Notices: this host's own retained at the broker, those of others carried to the daemon."""

from __future__ import annotations

import time
from typing import Any

from tests.broker.test_publish import expect_all
from tests.harness.between import SUBACK, Between, between
from tests.harness.broker import ACL, Listener, Mosquitto, listening
from tests.harness.carried import SECOND_NS, notice_of, signed_notice
from tests.harness.daemon import Tables
from tests.harness.publisher import Host
from tests.harness.signers import Signer
from tests.harness.waiting import wait_until

OWN = "tapsentinel/hv-1/notices/"
PUBLISH: Tables = {"mqtt.fleet": {"publish": True, "key_file": "/nowhere"}}
MACS = ["52:54:00:00:00:07"]


def notice(name: str, life_s: float = 600, message: str = "signed") -> dict[str, Any]:
    return {
        "id": name,
        "message": message,
        "expires_wall_ns": time.time_ns() + int(life_s * SECOND_NS),
        "withdrawn": False,
    }


THEIRS = Signer("hv-2")
FOLLOW: Tables = {"mqtt.fleet": {"follow": True, "hosts": [{"name": "hv-2", "key": THEIRS.public}]}}


def theirs(by: str = "hv-2") -> bytes:
    """A notice of another host."""
    return signed_notice(THEIRS, notice_of(by, None, macs=MACS), by).encode()


def notices_of(listener: Listener) -> dict[str, bytes]:
    """The latest of each topic."""
    return {topic: payload for topic, payload, _ in list(listener.messages) if "/notices/" in topic}


def test_own_ones_are_retained_until_they_are_over(
    broker: Mosquitto, listener: Listener, host: Host
) -> None:
    host.configure(PUBLISH)
    host.start_daemon()
    host.set_notices([notice("a"), notice("b", message="b"), notice("short", 8)])
    host.start()
    wait_until(lambda: len(notices_of(listener)) == 3, 30, "three notices")
    with listening(broker, name="late") as late:
        wait_until(lambda: len(notices_of(late)) == 3, 20, "what is retained")
        assert all(kept for topic, _, kept in late.messages if "/notices/" in topic)
    host.set_notices([notice("a", message="a, withdrawn")])
    wait_until(lambda: notices_of(listener)[OWN + "a"] == b"a, withdrawn", 30, "the withdrawal")
    wait_until(lambda: notices_of(listener)[OWN + "b"] == b"", 30, "what is taken back")
    wait_until(lambda: notices_of(listener)[OWN + "short"] == b"", 30, "what is over")
    assert host.status()["problems"] == []


def test_those_of_an_earlier_publisher_are_taken_back(listener: Listener, host: Host) -> None:
    host.configure(PUBLISH)
    host.start_daemon()
    host.set_notices([notice("a"), notice("b")])
    host.start()
    wait_until(lambda: len(notices_of(listener)) == 2, 30, "two notices")
    host.kill()
    host.set_notices([notice("b")])
    host.start()
    wait_until(lambda: notices_of(listener)[OWN + "a"] == b"", 30, "what is over")
    assert notices_of(listener)[OWN + "b"] == b"signed"
    host.stop()
    host.configure()
    host.start()
    wait_until(lambda: notices_of(listener)[OWN + "b"] == b"", 30, "what nobody asks for now")


def test_a_broker_keeps_no_notice_beyond_its_life(
    broker: Mosquitto, listener: Listener, host: Host
) -> None:
    host.configure(PUBLISH)
    host.start_daemon()
    host.set_notices([notice("short", 4)])
    host.start()
    wait_until(lambda: OWN + "short" in notices_of(listener), 30, "the notice")
    host.kill()

    def is_gone() -> bool:
        with listening(broker, name="late") as late:
            wait_until(lambda: late.on("/status"), 20, "what is retained")
            return not notices_of(late)

    wait_until(is_gone, 30, "its end", 0.5)


def test_those_of_others_are_carried(broker: Mosquitto, listener: Listener, host: Host) -> None:
    early = theirs()
    listener.publish("tapsentinel/hv-2/notices/1", early, retain=True)
    listener.publish("tapsentinel/hv-9/notices/1", theirs("hv-9"), retain=True)
    host.configure(FOLLOW)
    host.start_daemon()
    host.start()
    wait_until(lambda: len(host.carried()) == 1, 30, "what was retained")
    late = theirs()
    listener.publish("tapsentinel/hv-2/notices/2", late, retain=True)
    wait_until(lambda: len(host.carried()) == 2, 30, "what comes")
    assert [one["message"].encode() for one in host.carried()] == [early, late]
    assert {one["what"] for one in host.carried()} == {"notice"}
    listener.publish("tapsentinel/hv-2/notices/3", theirs("hv-9"))
    host.wait_for("1 notices of other hosts were left out (1 in another's name than the topic's)")
    assert len(host.carried()) == 2


def test_a_fleet_s_worth_at_once_is_lost_by_nobody(
    broker: Mosquitto, listener: Listener, host: Host
) -> None:
    many = 400
    for number in range(many):
        message = theirs()
        listener.publish(f"tapsentinel/hv-2/notices/{number}", message, retain=True)
    host.configure(FOLLOW)
    host.start()
    began = time.monotonic()
    # While they come there is no daemon: they wait.
    wait_until(lambda: "connected to" in host.log(), 30, "the publisher")
    host.start_daemon()
    wait_until(lambda: len(host.carried()) >= many, 60, "all of them", 0.1)
    took_s = time.monotonic() - began
    assert len({one["message"] for one in host.carried()}) == many
    assert took_s > many / 200 / 2, "at a bounded rate"
    assert host.status()["problems"] == []


def test_a_broker_that_gives_no_notices_hinders_no_events(
    broker: Mosquitto, listener: Listener, host: Host
) -> None:
    proxy = Between(broker.plain_port)

    def refuse(packet: bytes) -> bytes:
        return packet[:-1] + b"\x87" if packet[0] >> 4 == SUBACK else packet

    proxy.spoil = refuse
    with between(proxy.serve) as port:
        host.configure(FOLLOW, port=port, tls=False, ca_file="", cert_file="", key_file="")
        host.start_daemon()
        host.append(500)
        host.start()
        host.wait_for("the broker gives us no notices (Not authorized): see its ACL for")
        expect_all(listener, 500)


def test_notices_that_the_broker_refuses_are_said(
    broker: Mosquitto, listener: Listener, host: Host
) -> None:
    own = "topic write tapsentinel/hv-1/"
    broker.rewrite_acl(ACL.replace(f"{own}#", f"{own}events/#\n{own}status"))
    host.configure(PUBLISH)
    host.start_daemon()
    host.set_notices([notice("a")])
    host.append(500)
    host.start()
    host.wait_for(f"the broker refuses {OWN}a (Not authorized): see its ACL")
    expect_all(listener, 500)
