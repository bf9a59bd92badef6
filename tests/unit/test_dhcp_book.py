# SPDX-License-Identifier: Apache-2.0
"""Who is behind which port: bounds, claims, readings, who is looked at when."""

from __future__ import annotations

import time
from typing import Any

import pytest

from sentinel.dhcp.book import FAR_EVERY_NS, MOST_CLIENTS, MOST_OF_PORT, MOST_WANTED, LeaseBook
from sentinel.dhcp.client import Client
from sentinel.dhcp.drain import Draining
from sentinel.dhcp.facts import PortFacts, QueueReading
from sentinel.dhcp.step import Act, Step
from tests.harness.dhcp_steps import MAC, PORT, SECOND, leased, renewed, step

OTHER = "fa:16:3e:00:00:08"


def book(*steps: Step) -> LeaseBook:
    made = LeaseBook()
    for one in steps:
        made.take(one, f"tap{one.port_ifindex}")
    return made


def who(mac: str, port: int = PORT, **more: Any) -> dict[str, Any]:
    return {"mac": mac, "client": mac, "port_ifindex": port, "ifindex": port, **more}


def tick(made: LeaseBook, at_s: float) -> dict[int, list[str]]:
    """Causes by port, as a daemon would find them then."""
    now_ns = round((at_s + 1) * SECOND)
    made.tick(now_ns)
    found = {
        port.ifindex: sorted(str(one.cause) for one in troubles if one.is_sure)
        for port, troubles in made.troubles(now_ns)
    }
    return {ifindex: causes for ifindex, causes in found.items() if causes}


def facts(at_s: float, passed: int = 0, taken: int = 0, **more: Any) -> PortFacts:
    members: dict[str, Any] = {
        "ifindex": PORT,
        "time_ns": round((at_s + 1) * SECOND),
        "sent_ns": 0,
        "received_ns": 0,
        "missed": 0,
        "is_cut": False,
        "queue": QueueReading(passed, taken, 0, None, None),
    }
    return PortFacts(**members | more)


def only(made: LeaseBook) -> Client:
    (port,) = made.ports()
    (client,) = port.clients.values()
    return client


# Who is remembered.


@pytest.mark.parametrize(
    "stranger",
    [
        step(Act.ACK, lease_s=60),
        step(Act.OFFER, role="uplink"),
        step(Act.FIND, role="uplink"),
        step(Act.OFFER, direction=0),
        step(Act.OTHER),
    ],
)
def test_only_a_guest_s_own_question_makes_a_client(stranger: Step) -> None:
    made = book(stranger)
    assert len(made) == 0
    assert made.port(PORT) is None
    made = book(step(Act.FIND, **who(OTHER)), stranger)
    assert len(made) == 1


def test_clients_are_told_apart() -> None:
    made = book(
        *leased(),
        *leased(**who(OTHER)),
        *leased(family=6, client="00030001aa", xid=2),
        step(Act.INFORM, family=6, client="", xid=3),
    )
    port = made.port(PORT)
    assert port is not None
    assert list(port.clients) == [(4, MAC), (4, OTHER), (6, "00030001aa"), (6, MAC)]


def test_a_guest_that_makes_up_clients_forgets_its_own_and_leases_last() -> None:
    made = book(*leased(**who("aa")), *leased(port_ifindex=8, ifindex=8))
    for number in range(1000):
        made.take(step(Act.FIND, number / 10, xid=number, **who(f"made up {number}")), "tap7")
    port = made.port(PORT)
    assert port is not None
    assert len(port.clients) == MOST_OF_PORT
    assert (4, "aa") in port.clients
    assert made.forgotten == 1001 - MOST_OF_PORT
    assert len(made) == MOST_OF_PORT + 1
    neighbour = made.port(8)
    assert neighbour is not None
    assert len(neighbour.clients) == 1


def test_all_ports_together_are_bounded_and_share() -> None:
    made = LeaseBook()
    ports = MOST_CLIENTS // MOST_OF_PORT
    for port in range(ports):
        for number in range(MOST_OF_PORT):
            made.take(step(Act.FIND, port, xid=number, **who(f"{port}/{number}", 100 + port)), "t")
    assert len(made) == MOST_CLIENTS
    for port in range(2 * ports):
        made.take(step(Act.FIND, 1000, **who("newcomer", 1000 + port)), "t")
    assert len(made) == MOST_CLIENTS
    for port in range(2 * ports):
        assert made.port(1000 + port) is not None
    counts = [len(port.clients) for port in made.ports()]
    assert sum(counts) == MOST_CLIENTS
    assert max(counts) <= MOST_OF_PORT


def test_hostile_guests_on_all_ports_cost_no_more_with_every_message() -> None:
    """The time for a message does not grow with how many are known."""
    made = LeaseBook()

    def spent_s(first: int) -> float:
        began = time.process_time()
        for number in range(first, first + 4000):
            made.take(step(Act.FIND, number / 1e3, **who(f"{number}", 100 + number % 1000)), "t")
        return time.process_time() - began

    few_s = spent_s(0)
    for round_of_them in range(1, 4):
        spent_s(4000 * round_of_them)
    assert len(made) == MOST_CLIENTS
    assert spent_s(16_000) < 5 * few_s + 0.1


def test_a_port_that_is_gone_is_forgotten() -> None:
    made = book(*leased(), step(Act.RENEW, 30), step(Act.RENEW, 40))
    made.forget_port(PORT)
    made.forget_port(PORT)
    assert (len(made), made.wanted(50 * SECOND), tick(made, 100)) == (0, [], {})
    made.read(facts(50))
    assert list(made.ports()) == []


# Addresses.


def two(one: dict[str, Any], other: dict[str, Any]) -> LeaseBook:
    return book(*leased(**who(MAC)), *leased(at_s=5, **{**who(OTHER, 8), **one, **other}))


def test_one_address_for_two_is_a_conflict_at_both() -> None:
    made = book(*leased(**who(MAC)))
    # The first has long been asleep when the second comes.
    tick(made, 3)
    for one in leased(at_s=5, **who(OTHER, 8)):
        made.take(one, "tap8")
    assert tick(made, 10) == {7: ["address_conflict"], 8: ["address_conflict"]}
    # It lasts through renewals, and ends with one's lease.
    made.take(renewed(30)[0], "tap7")
    made.take(renewed(30)[1], "tap7")
    assert tick(made, 31)[8] == ["address_conflict"]
    made.take(step(Act.RELEASE, 32, **who(OTHER, 8)), "tap8")
    assert tick(made, 33) == {}


@pytest.mark.parametrize(
    "other",
    [
        {"server_mac": "52:54:00:00:00:02"},
        {"server": "10.0.0.2"},
        {"vid": 7},
        {"mac": MAC},
        {"addresses": ("10.0.0.8",)},
        {"port_ifindex": 7, "ifindex": 7, "client_id": "01"},
    ],
    ids=["server's mac", "server", "vlan", "same guest", "address", "same port and client id"],
)
def test_what_is_no_conflict(other: dict[str, Any]) -> None:
    first = leased(**who(MAC, client_id="01" if "client_id" in other else None))
    made = book(*first, *leased(at_s=5, **{**who(OTHER, 8), **other}))
    assert tick(made, 10) == {}


def test_an_address_that_is_free_again_is_no_conflict() -> None:
    made = book(*leased(**who(MAC)), *leased(at_s=60.5, **who(OTHER, 8)))
    assert tick(made, 61) == {}


@pytest.mark.parametrize("port", [7, 8])
def test_where_messages_went_untold_it_may_have_been_given_back(port: int) -> None:
    made = two({}, {})
    made.read(facts(6, ifindex=port, missed=1))
    assert tick(made, 10) == {}


def test_a_port_that_is_gone_is_nobody_s_rival() -> None:
    made = two({}, {})
    tick(made, 10)
    made.forget_port(8)
    assert tick(made, 11) == {}


def test_cloned_guests_with_one_client_id_are_a_conflict() -> None:
    made = book(
        *leased(**who(MAC, client_id="ff")), *leased(at_s=5, **who(OTHER, 8, client_id="ff"))
    )
    assert tick(made, 10) == {7: ["address_conflict"], 8: ["address_conflict"]}


def test_a_boot_loader_s_dhcpv6_lease_is_its_system_s_to_replace() -> None:
    loader: dict[str, Any] = {"family": 6, "client": "00aa"}
    system: dict[str, Any] = {"family": 6, "client": "00bb", "addresses": ("fd00::8",)}
    made = book(*leased(**loader), *leased(at_s=20, xid=2, **system))
    states = {key[1]: client.state for key, client in made.port(PORT).clients.items()}  # type: ignore[union-attr]
    assert states == {"00aa": "superseded", "00bb": "bound"}
    # And the other way at the next boot, though both are known by then.
    for one in leased(at_s=40, xid=3, **loader):
        made.take(one, "tap7")
    for one in leased(at_s=50, xid=4, **system):
        made.take(one, "tap7")
    states = {key[1]: client.state for key, client in made.port(PORT).clients.items()}  # type: ignore[union-attr]
    assert states == {"00aa": "superseded", "00bb": "bound"}
    assert tick(made, 101) == {}


def test_two_clients_of_one_interface_that_renew_leave_each_other_alone() -> None:
    one: dict[str, Any] = {"family": 6, "client": "00aa"}
    other: dict[str, Any] = {"family": 6, "client": "00bb", "addresses": ("fd00::8",)}
    made = book(*leased(**one), *leased(at_s=20, xid=2, **other))
    for at_s in (30, 60, 90):
        for step_ in [*renewed(at_s, xid=at_s, **one), *renewed(at_s + 10, xid=at_s + 1, **other)]:
            made.take(step_, "tap7")
    states = {key[1]: client.state for key, client in made.port(PORT).clients.items()}  # type: ignore[union-attr]
    assert states == {"00aa": "bound", "00bb": "bound"}


def test_clients_of_one_interface_that_speak_by_turns_leave_each_other_alone() -> None:
    one: dict[str, Any] = {"family": 6, "client": "00aa"}
    other: dict[str, Any] = {"family": 6, "client": "00bb", "addresses": ("fd00::8",)}
    first, *rest = leased(at_s=29.9, xid=2, **other)
    made = book(*leased(**one), first, *renewed(30, xid=3, **one), *rest)
    states = {key[1]: client.state for key, client in made.port(PORT).clients.items()}  # type: ignore[union-attr]
    assert states == {"00aa": "bound", "00bb": "bound"}


# Readings.


def test_a_port_is_read_while_it_is_in_doubt_and_no_other() -> None:
    neighbour = leased(lease_s=3600, **who(OTHER, 8))
    made = book(*leased(), *neighbour, step(Act.RENEW, 30, xid=2))
    assert made.wanted(32 * SECOND) == []
    made.take(step(Act.RENEW, 34, xid=2), "tap7")
    assert made.wanted(35 * SECOND) == [PORT]
    assert made.wanted(35 * SECOND) == []
    tick(made, 35)
    assert made.wanted(36 * SECOND) == [PORT]
    # Closely at first, then now and then; at once when it asks again.
    for at_s in range(36, 51):
        tick(made, at_s)
        made.wanted((at_s + 1) * SECOND)
    tick(made, 52)
    assert made.wanted(53 * SECOND) == []
    made.take(step(Act.RENEW, 53, xid=2), "tap7")
    assert made.wanted(54 * SECOND) == [PORT]
    made.take(step(Act.ACK, 54, xid=2, lease_s=60), "tap7")
    tick(made, 55)
    assert made.wanted(70 * SECOND) == []


def test_when_all_are_in_doubt_every_port_has_its_turn() -> None:
    made = LeaseBook()
    for port in range(3 * MOST_WANTED):
        for at_s in (0, 4):
            made.take(step(Act.FIND, at_s, **who("aa", 100 + port)), "t")
    tick(made, 5)
    read: set[int] = set()
    for second in range(3):
        wanted = made.wanted((6 + second) * SECOND)
        assert len(wanted) == MOST_WANTED
        read.update(wanted)
    assert len(read) == 3 * MOST_WANTED
    assert FAR_EVERY_NS > SECOND


def test_a_queue_that_stalls_and_one_that_is_drained_again() -> None:
    steps = [*leased(), *renewed(30), *renewed(60, 3), *renewed(68, 3)]
    made = book(*steps)
    for at_s, passed in ((68, 10), (69, 11), (70, 11)):
        made.read(facts(at_s, passed, 5))
    assert tick(made, 70) == {7: ["queue_stalled"]}
    exchange = only(made).exchange
    assert exchange is not None
    assert (exchange.is_stalled, exchange.ignored) == (True, 1)
    made.read(facts(71, 11, 6))
    assert (exchange.is_stalled, exchange.ignored) == (False, 0)
    assert tick(made, 71) == {}


@pytest.mark.parametrize(("asked_at_s", "said"), [((30,), {}), ((30, 34), {7: ["queue_stalled"]})])
def test_a_stall_without_answers_matters_to_one_who_asks_again(
    asked_at_s: tuple[int, ...], said: dict[int, list[str]]
) -> None:
    """Who reads nothing answers no ARP: a server's answer does not even leave it."""
    made = book(*leased(), *(step(Act.RENEW, at_s, xid=2) for at_s in asked_at_s))
    for at_s, passed in ((34, 10), (35, 11), (36, 11)):
        made.read(facts(at_s, passed, 5))
    port = made.port(PORT)
    assert port is not None
    assert port.drain.draining is Draining.STALLED
    assert tick(made, 36) == said


def test_readings_are_forgotten_when_the_doubt_is_over() -> None:
    made = book(*leased(), step(Act.RENEW, 30, xid=2), step(Act.RENEW, 34, xid=2))
    tick(made, 35)
    made.read(facts(35, 10, 5))
    made.take(step(Act.ACK, 36, xid=2, lease_s=60), "tap7")
    tick(made, 37)
    port = made.port(PORT)
    assert port is not None
    assert (port.doubt_ns, port.drain.mark) == (0, None)


# What time does.


def test_a_lease_is_lost_when_the_port_was_read_or_waited_for_in_vain() -> None:
    for reads in (True, False):
        made = book(*leased())
        lost_at = None
        for at_s in range(55, 80):
            if reads:
                made.read(facts(at_s, at_s, at_s))
            if "lease_lost" in tick(made, at_s).get(PORT, []):
                lost_at = at_s
                break
        assert lost_at == (63 if reads else 66)


def test_an_untold_message_makes_a_lost_lease_an_unknown_one() -> None:
    made = book(*leased())
    for at_s in range(53, 80):
        made.read(facts(at_s, missed=1))
        assert tick(made, at_s).get(PORT, []) == []
    assert only(made).state == "unknown"


def test_older_news_of_untold_messages_is_no_news() -> None:
    made = book(*leased())
    made.read(facts(40, missed=1))
    made.take(step(Act.RENEW, 39, missed=0), "tap7")
    port = made.port(PORT)
    assert port is not None
    assert port.missed == 1
    exchange = only(made).exchange
    assert exchange is not None
    assert exchange.missed == 1
    made.read(facts(41, missed=0))
    assert port.missed == 0


def test_who_is_well_is_not_looked_at_until_its_time() -> None:
    made = book(*leased())
    tick(made, 1)
    made.touched()
    tick(made, 30)
    assert made.touched() == set()
    assert not made._awake
    # T2, and a little.
    tick(made, 56)
    assert made._awake
    for one in renewed(57):
        made.take(one, "tap7")
    tick(made, 58)
    assert not made._awake
    assert len(made._alarms) == 1


def test_a_silent_guest_is_found_though_it_sleeps() -> None:
    made = book(*leased())
    causes: list[str] = []
    for at_s in range(1, 80):
        if made.wanted((at_s + 1) * SECOND):
            made.read(facts(at_s))
        causes += [cause for cause in tick(made, at_s).get(PORT, []) if cause not in causes]
    assert causes == ["guest_silent", "lease_lost"]
