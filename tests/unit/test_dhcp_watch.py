# SPDX-License-Identifier: Apache-2.0
"""Records in, incidents and the journal's rows out: through restarts, renames and floods."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest

from sentinel.dhcp.client import SECOND_NS
from sentinel.dhcp.step import Act, Step
from sentinel.dhcp.watch import LONGEST_KEEP_NS, MOST_KEPT, said_by
from sentinel.effect import Effect, KeepLease
from sentinel.event import Kind
from tests.harness.dhcp_play import ADDRESS, MAC, PORT, UPLINK, Play, device
from tests.harness.dhcp_steps import leased, step

KEY = f"tap7/4/{MAC}"
OTHER = "fa:16:3e:00:00:08"


def renewals(play: Play, count: int, first_xid: int = 100) -> None:
    for number in range(count):
        play.wait(29)
        play.renew(60, xid=first_xid + number)


def go_silent(play: Play) -> None:
    """A renewal that nobody answers, until the lease is lost."""
    for _ in range(4):
        play.ask(Act.RENEW, xid=900)
        play.wait(9)


def test_a_guest_that_speaks_as_a_server_is_handed_back() -> None:
    play = Play()
    rogue = step(Act.OFFER, direction=0, note=None)
    assert play.watch.take(rogue) is rogue
    assert said_by(rogue) == f"offer 10.0.0.7 to {MAC} as server 10.0.0.1"
    assert said_by(step(Act.NAK, passed=False, addresses=(), server_address=None)) == (
        f"nak to {MAC} - dropped"
    )
    assert play.leases() == []


@pytest.mark.parametrize("ifindex", [0, 99, UPLINK])
def test_what_is_no_port_s_is_let_go(ifindex: int) -> None:
    play = Play()
    for act in (Act.FIND, Act.OFFER):
        assert play.watch.take(step(act, direction=0, port_ifindex=ifindex)) is None
    assert play.leases() == []


def test_a_quiet_day_keeps_one_row_and_tells_nothing() -> None:
    play = Play()
    play.lease(60)
    renewals(play, 100)
    play.wait(2)
    assert list(play.kept) == [KEY]
    assert play.told == []
    assert play.watch.counts() == {"clients": 1, "forgotten": 0}


# The journal.


def kept_at(play: Play, seconds: int) -> list[int]:
    """At which seconds a row was written."""
    found = []
    for second in range(seconds):
        before = dict(play.kept)
        play.step(Act.INFORM, xid=1000 + second)
        play.wait(1)
        found += [second] * (play.kept != before)
    return found


def test_one_that_never_rests_is_kept_ever_less_often_and_a_lease_at_once() -> None:
    play = Play()
    play.lease(3600)
    play.wait(1)
    written = kept_at(play, 100)
    assert written[:5] == [0, 2, 6, 14, 30]
    assert all(
        after - before <= LONGEST_KEEP_NS // SECOND_NS for before, after in pairwise(written)
    )
    before = play.kept[KEY]
    play.renew(3600, xid=5)
    play.wait(1)
    assert play.kept[KEY] is not before
    # What is not kept yet is when the daemon stops.
    play.step(Act.INFORM, xid=7)
    before = play.kept[KEY]
    play.apply(play.watch.stop(play.now_ns, play.dial))
    assert play.kept[KEY] is not before


def test_all_at_once_are_kept_in_turns_and_when_it_stops_at_once() -> None:
    play = Play()
    ports = 3 * MOST_KEPT
    for port in range(ports):
        play.add_port(1000 + port, f"tap{1000 + port}")
        play.lease(3600, port=1000 + port, mac=f"{port}", address=f"10.1.{port >> 8}.{port & 255}")
    for turn in range(1, 4):
        play.tick()
        assert len(play.kept) == turn * MOST_KEPT
    play.tick()
    for port in range(ports):
        play.renew(3600, port=1000 + port, mac=f"{port}", address=f"10.1.{port >> 8}.{port & 255}")
    effects = list(play.watch.stop(play.now_ns, play.dial))
    assert len([one for one in effects if isinstance(one, KeepLease)]) == ports


def test_who_is_forgotten_is_forgotten_in_the_journal() -> None:
    play = Play()
    play.lease(60)
    play.ask(Act.RELEASE, xid=2)
    play.wait(1)
    assert list(play.kept) == [KEY]
    for number in range(40):
        play.step(Act.FIND, mac=f"{number}", xid=number)
        play.wait(1)
    assert list(play.kept) == []
    play.lease(60)
    play.wait(1)
    assert list(play.kept) == [KEY]
    play.apply(play.watch.gone(PORT, play.dial.wall_ns(play.now_ns)))
    assert (play.kept, play.leases()) == ({}, [])


def test_a_renamed_port_is_kept_under_its_name() -> None:
    play = Play()
    play.lease(60)
    play.wait(1)
    play.devices[PORT] = device(PORT, "web0")
    play.watch.renamed(play.devices[PORT])
    play.wait(2)
    assert list(play.kept) == [f"web0/4/{MAC}"]
    assert play.document()["port"] == "web0"


def test_a_port_that_goes_ends_its_incidents() -> None:
    play = Play()
    play.lease(60)
    go_silent(play)
    assert "unanswered" in play.open()
    play.devices.pop(PORT)
    play.apply(play.watch.gone(PORT, play.dial.wall_ns(play.now_ns)))
    assert play.open() == {}
    assert play.told[-1][0] is Kind.INCIDENT_CLOSED
    play.wait(5)
    assert play.told[-1][1].evidence[-1].text == "over: the port is gone"


# Another daemon.


@pytest.mark.parametrize("stops", [True, False])
@pytest.mark.parametrize("boot", [True, False])
def test_another_daemon_knows_the_same(stops: bool, boot: bool) -> None:
    play = Play()
    play.lease(60, vid=7, client_id="01aa")
    play.lease(600, family=6)
    renewals(play, 2)
    play.wait(5)
    documents = play.leases()
    ladder = play.exchange()
    play.restart(stops=stops, boot=boot)
    assert play.leases() == documents
    assert play.exchange() == ladder
    play.wait(20)
    renewals(play, 3, 500)
    play.wait(1)
    assert play.told == []


def test_an_incident_goes_on_through_a_restart_and_opens_once() -> None:
    play = Play()
    play.lease(60)
    play.wait(30)
    go_silent(play)
    assert sorted(play.open()) == ["lease_lost", "unanswered"]
    summaries = {cause: one.summary for cause, one in play.open().items()}
    play.restart(stops=False)
    play.wait(120)
    assert sorted(play.open()) == ["lease_lost", "unanswered"]
    assert {cause: one.summary for cause, one in play.open().items()} == summaries
    assert sorted(play.opened()) == ["lease_lost", "unanswered"]
    play.lease(60, xid=5)
    play.wait(2)
    assert play.open() == {}


def test_a_client_without_a_lease_goes_on_as_well() -> None:
    play = Play()
    for _ in range(4):
        play.ask(Act.FIND)
        play.wait(8)
    assert play.opened() == ["unanswered"]
    play.restart(stops=False)
    play.wait(60)
    play.ask(Act.FIND)
    play.wait(60)
    assert play.opened() == ["unanswered"]
    assert list(play.open()) == ["unanswered"]


def test_what_happened_while_no_daemon_ran_is_read_first() -> None:
    """The ring holds it: the first tick must not judge by what the journal has."""
    play = Play()
    play.lease(60)
    play.wait(5)
    play.restart()
    steps: list[tuple[int, int]] = [(play.now_ns + 25 * SECOND_NS * n, n) for n in range(1, 6)]
    play.now_ns += 130 * SECOND_NS
    play.tick()
    now_ns = play.now_ns
    for at_ns, xid in steps:
        play.now_ns = at_ns
        play.renew(60, xid=xid)
    play.now_ns = now_ns
    play.wait(10)
    assert play.told == []
    assert play.document()["state"] == "bound"


def test_a_daemon_that_stood_still_reads_before_it_judges() -> None:
    play = Play()
    play.lease(60)
    play.wait(5)
    asked_ns = play.now_ns + 25 * SECOND_NS
    play.now_ns += 300 * SECOND_NS
    play.tick()
    assert play.told == []
    now_ns, play.now_ns = play.now_ns, asked_ns
    play.renew(600, xid=2)
    play.now_ns = now_ns
    play.wait(20)
    assert play.told == []


def test_an_answer_that_waits_in_the_ring_is_read_before_it_is_missed() -> None:
    play = Play()
    for pause_s in (1, 2, 1.5):
        play.ask(Act.FIND)
        play.wait(pause_s)
    asked_ns = play.now_ns
    play.now_ns += 60 * SECOND_NS
    play.tick()
    assert play.told == []
    now_ns, play.now_ns = play.now_ns, asked_ns
    play.answer(Act.OFFER, lease_s=60)
    play.now_ns = now_ns
    play.wait(5)
    assert play.told == []


def test_ticks_that_are_far_apart_judge_all_the_same() -> None:
    play = Play()
    play.lease(60)
    for _ in range(20):
        play.now_ns += 10 * SECOND_NS
        play.tick()
    assert play.opened() == ["lease_lost"]


@pytest.mark.parametrize("is_continuous", [True, False])
def test_a_lease_that_ran_out_while_nobody_watched(is_continuous: bool) -> None:
    play = Play()
    play.lease(60)
    play.wait(2)
    play.restart(is_continuous=is_continuous)
    play.wait(300)
    lost = ["guest_silent", "lease_lost"]
    assert play.opened() == (lost if is_continuous else [])
    assert play.document()["state"] == ("lost" if is_continuous else "unknown")


@pytest.mark.parametrize("change", ["gone", "renamed", "uplink", "damaged", "another key"])
def test_what_another_daemon_does_not_take_over(change: str) -> None:
    play = Play()
    play.lease(60)
    play.wait(2)
    if change == "gone":
        play.devices.pop(PORT)
    elif change == "renamed":
        play.devices[PORT] = device(PORT, "other")
    elif change == "uplink":
        play.devices[PORT] = device(PORT, "tap7", "uplink")
    elif change == "damaged":
        row = play.kept[KEY]
        play.kept[KEY] = KeepLease(KEY, row.port, row.saved_wall_ns, {"version": 1})
    else:
        row = play.kept.pop(KEY)
        play.kept["tap7/4/aa"] = KeepLease("tap7/4/aa", row.port, row.saved_wall_ns, row.state)
    play.restart(stops=False)
    assert play.kept == {}
    assert play.leases() == []


def test_an_incident_of_a_port_that_is_another_s_now_is_not_gone_on_with() -> None:
    play = Play()
    play.lease(60)
    go_silent(play)
    (incident, *_) = play.open().values()
    play.devices[PORT] = device(PORT, "other")
    assert play.watch.reopen(incident, 0) is None
    play.devices.pop(PORT)
    assert play.watch.reopen(incident, 0) is None


# What it costs.


def spent_ms(play: Play, ticks: int) -> float:
    began = time.process_time()
    effects: list[Effect] = []
    for _ in range(ticks):
        play.now_ns += SECOND_NS
        play.watch.wanted(play.now_ns)
        effects += play.watch.tick(play.now_ns, play.dial)
    return (time.process_time() - began) * 1000 / ticks


@pytest.mark.parametrize(("ports", "clients"), [(1000, 1), (256, 32)])
def test_a_second_in_which_nothing_happens_costs_nothing(ports: int, clients: int) -> None:
    play = Play()
    for port in range(ports):
        play.add_port(1000 + port, f"tap{1000 + port}")
        for number in range(clients):
            mac = f"{port}/{number}"
            address = f"10.{port >> 8}.{port & 255}.{number}"
            for one in leased(lease_s=3600):
                made = {
                    **{name: getattr(one, name) for name in Step.__slots__},
                    "time_ns": play.now_ns, "port_ifindex": 1000 + port, "ifindex": 1000 + port,
                    "client": mac, "mac": mac, "addresses": (address,),
                }  # fmt: skip
                play.watch.take(Step(**made))
    assert play.watch.counts()["clients"] == ports * clients
    spent_ms(play, 40)
    # A hundredth of a core would be ten.
    assert spent_ms(play, 20) < 2


def test_a_hostile_guest_s_messages_are_kept_now_and_then() -> None:
    """It makes clients up, and takes leases for them all."""
    play = Play()
    play.lease(3600)
    rows = 0
    for second in range(60):
        for number in range(20):
            mac = f"made up {(20 * second + number) % 50}"
            play.step(Act.RENEW, mac=mac, xid=number)
        before = dict(play.kept)
        play.wait(1)
        rows += sum(play.kept.get(key) is not row for key, row in before.items())
    assert rows < 60
    assert len(play.leases()) <= 32
    assert play.document()["address"] == ADDRESS
    assert "unanswered" not in play.opened()


def test_a_guest_that_looks_anew_and_is_deaf_has_lost_its_lease() -> None:
    """However its renewals were told apart: it would not ask for what it has."""
    play = Play()
    play.lease(600)
    play.wait(300)
    play.renew(600, xid=2)
    play.sent_ns = play.now_ns - 1
    play.queue.drains = False
    play.wait(20)
    for xid in (7, 7, 7):
        play.ask(Act.FIND, xid=xid)
        play.answer(Act.OFFER, xid=xid, lease_s=600)
        play.wait(3)
    assert set(play.open()) == {"queue_stalled", "lease_lost"}
    assert "Not a DHCP fault." in play.open()["lease_lost"].summary
