# SPDX-License-Identifier: Apache-2.0
"""What is said, word for word, and the time line it rests on."""

from __future__ import annotations

from typing import Any, Literal

import pytest

from sentinel.dhcp.client import SECOND_NS
from sentinel.dhcp.sentences import Dial, span
from sentinel.dhcp.step import INFINITE_NS, Act
from tests.harness.dhcp_play import SERVER, Play

MILLISECOND_NS = 1_000_000
AT_WALL_NS = 1_790_042_387_412 * MILLISECOND_NS
"""02:13:07.412 in UTC plus 40 minutes... of a zone that is half an hour from a full one."""
WHO = "fa:16:3e:00:00:07 of VM web"


def set_clock(play: Play, hours: int, minutes: int, seconds: float) -> None:
    """Make the wall's clock show this now."""
    day_ns = 20_000 * 86_400 * SECOND_NS
    of_day_ns = (hours * 3600 + minutes * 60) * SECOND_NS + round(seconds * SECOND_NS)
    play.epoch_ns = day_ns + of_day_ns - play.now_ns


def story(play: Play, *, family: Literal[4, 6] = 4, times: int = 3, drains: bool = False) -> None:
    """Three renewals that are answered, by a guest that reads nothing any more."""
    more: dict[str, Any] = {"family": family}
    play.lease(60, xid=1, **more)
    play.wait(30)
    play.renew(60, xid=2, **more)
    play.wait(30)
    set_clock(play, 2, 13, 7.450)
    play.sent_ns = play.now_ns - 38 * MILLISECOND_NS
    play.queue.drains = drains
    for number, act in enumerate([Act.RENEW, Act.RENEW, Act.REBIND][:times]):
        xid = 4 if family == 6 and act is Act.REBIND else 3
        play.ask(act, xid=xid, **more)
        play.answer(Act.ACK, xid=xid, lease_s=60, **more)
        play.wait([8, 12, 12][number])
    play.wait(20)


@pytest.mark.parametrize("family", [4, 6])
def test_the_story(family: Literal[4, 6]) -> None:
    play = Play()
    story(play, family=family)
    address = "10.0.0.7" if family == 4 else "fd00::7"
    assert play.summary("lease_lost") == (
        f"tap7: lease of {address} lost. The server answered 3 times, the replies passed towards "
        "the guest; the guest had been silent since 02:13:07.412, 38 ms before the first renewal; "
        "its receive queue is not being drained (2 frames in it). Not a DHCP fault."
    )
    assert play.summary("queue_stalled") == (
        f"tap7: {WHO} was answered 3 times, the replies passed towards the guest; the guest had "
        "been silent since 02:13:07.412, 38 ms before the first renewal; its receive queue is not "
        "being drained (2 frames in it). Not a DHCP fault."
    )
    assert set(play.open()) == {"queue_stalled", "lease_lost"}


def test_the_story_s_time_line() -> None:
    play = Play()
    story(play)
    assert play.evidence("lease_lost") == [
        "tap7: 10.0.0.7 was leased for 1m by the server 10.0.0.1",
        "tap7: the last frame from the guest before it asked",
        "tap7: DHCPREQUEST 10.0.0.7 from the guest",
        "uplink0: DHCPREQUEST 10.0.0.7 to the wire",
        "uplink0: DHCPACK 10.0.0.7 from the wire",
        "tap7: DHCPACK 10.0.0.7 to the guest",
        "tap7: DHCPREQUEST 10.0.0.7 from the guest",
        "uplink0: DHCPREQUEST 10.0.0.7 to the wire",
        "uplink0: DHCPACK 10.0.0.7 from the wire",
        "tap7: DHCPACK 10.0.0.7 to the guest",
        "tap7: DHCPREQUEST 10.0.0.7 from the guest",
        "uplink0: DHCPREQUEST 10.0.0.7 to the wire",
        "uplink0: DHCPACK 10.0.0.7 from the wire",
        "tap7: DHCPACK 10.0.0.7 to the guest",
        "tap7: the lease ran out",
        "tap7: its receive queue, read since 02:13:15.451: 2 frames passed towards the guest that "
        "it did not take",
    ]
    times = [moment.time_ns for moment in play.open()["lease_lost"].evidence]
    assert times == sorted(times)


def test_a_guest_that_goes_on_sending_is_not_silent() -> None:
    play = Play()
    play.lease(60)
    play.wait(30)
    play.renew(60, xid=2)
    play.wait(30)
    set_clock(play, 23, 59, 59.0)
    play.queue.drains = False
    for _ in range(3):
        play.sent_ns = play.now_ns - SECOND_NS
        play.renew(60, xid=3)
        play.wait(8)
    said = play.summary("queue_stalled")
    assert "silent" not in said
    assert "the guest went on sending, last at 00:00:" in said


def test_dropped_frames_are_said() -> None:
    play = Play()
    play.lease(60)
    play.wait(30)
    play.renew(60, xid=2)
    play.wait(30)
    play.queue.drains = False
    play.renew(60, xid=3)
    play.wait(8)
    play.renew(60, xid=3)
    play.queue.passed += 500
    play.queue.dropped += 10
    play.wait(4)
    assert "is not being drained (491 frames in it, 10 dropped)" in play.summary("queue_stalled")


def test_unanswered() -> None:
    play = Play()
    play.lease(60)
    play.wait(29.9)
    set_clock(play, 2, 0, 0)
    for _ in range(3):
        play.ask(Act.RENEW, xid=2)
        play.wait(4)
    assert play.summary("unanswered") == (
        f"tap7: {WHO} sent DHCPREQUEST 3 times since 02:00:00.000, and no server answered; the "
        "question was last seen leaving by uplink0 at 02:00:08.000."
    )
    play.wait(30)
    assert play.summary("lease_lost").startswith(
        "tap7: lease of 10.0.0.7 lost. The guest asked 3 times, and no server answered; the "
        "question was last seen leaving by uplink0 at 02:00:08.000."
    )
    for _ in range(2):
        play.ask(Act.FIND, xid=9)
        play.wait(61)
    assert "sent DHCPREQUEST and DHCPDISCOVER 5 times since 02:00:00" in play.summary("unanswered")


def test_unanswered_at_no_uplink() -> None:
    play = Play()
    for _ in range(3):
        play.ask(Act.FIND, leaves=False, family=6)
        play.wait(4)
    assert play.summary("unanswered").endswith(
        "and no server answered; the question was last seen at tap7, at no uplink."
    )
    assert "sent Solicit 3 times" in play.summary("unanswered")


def test_reply_lost() -> None:
    play = Play()
    play.lease(60)
    play.wait(30)
    for _ in range(2):
        play.ask(Act.RENEW, xid=2)
        play.answer(Act.ACK, xid=2, lease_s=60, passes=False)
        play.wait(8)
    assert play.summary("reply_lost") == (
        f"tap7: the server answered {WHO} 2 times; the replies were last seen at the uplink "
        "uplink0 and never passed towards the guest: they are lost on this host, between uplink0 "
        "and tap7."
    )
    play.wait(30)
    assert play.summary("lease_lost") == (
        "tap7: lease of 10.0.0.7 lost. The guest asked 2 times; the server's replies were last "
        "seen at the uplink uplink0 and never passed towards the guest: they are lost on this "
        "host, between uplink0 and tap7."
    )


def test_ignored() -> None:
    play = Play()
    play.lease(60)
    play.wait(30)
    play.renew(60, xid=2)
    play.wait(30)
    set_clock(play, 3, 0, 0)
    for _ in range(3):
        play.sent_ns = play.now_ns
        play.renew(60, xid=3)
        play.wait(9)
    assert play.summary("ignored") == (
        f"tap7: {WHO} was answered 3 times, the replies passed towards the guest, which drains its "
        "receive queue, and it asked again all the same: the guest ignores them. Look at its DHCP "
        "client and its packet filter."
    )
    play.ask(Act.FIND, xid=4)
    play.answer(Act.OFFER, xid=4, lease_s=60)
    play.wait(8)
    play.ask(Act.FIND, xid=4)
    play.wait(3)
    assert play.summary("lease_lost") == (
        "tap7: lease of 10.0.0.7 lost. The server answered 3 times, the replies passed towards the "
        "guest; the guest went on sending, last at 03:00:18.002; its receive queue is being "
        "drained. The guest ignored them."
    )


@pytest.mark.parametrize(("sends", "stalls"), [(False, False), (True, False), (False, True)])
def test_guest_silent_and_its_lease_lost(sends: bool, stalls: bool) -> None:
    play = Play()
    play.lease(60)
    set_clock(play, 4, 0, 0)
    acked_ns = play.now_ns
    play.sent_ns = acked_ns + round((34 if sends else 18) * SECOND_NS)
    play.queue.drains = not stalls
    for _ in range(80):
        play.queue.passed += stalls
        play.wait(1)
    silent = play.summary("guest_silent")
    assert silent.startswith(
        f"tap7: {WHO} did not ask for the renewal of 10.0.0.7, due at 04:00:30.000; "
    )
    lost = play.summary("lease_lost")
    assert lost.startswith("tap7: lease of 10.0.0.7 lost. The guest did not ask to renew it; ")
    for said in (silent, lost):
        if sends:
            assert said.endswith(
                "the guest still sends, last at 04:00:34.000: its DHCP client does not ask."
            )
        elif stalls:
            assert (
                "12 s before the renewal was due, and its receive queue is not being drained"
                in (said)
            )
            assert said.endswith(". Not a DHCP fault.")
        else:
            assert said.endswith(
                "the guest has been silent since 04:00:18.000, 12 s before the renewal was due. "
                "Not a DHCP fault."
            )
    assert "tap7: the renewal was due (T1)" in play.evidence("guest_silent")
    assert play.opened() == ["guest_silent", "lease_lost"]


@pytest.mark.parametrize("asks", [True, False])
def test_a_lease_that_was_lost_to_our_own_cut(asks: bool) -> None:
    play = Play()
    play.lease(60)
    play.is_cut = not asks
    play.wait(30)
    for _ in range(3 * asks):
        play.step(Act.RENEW, xid=2, passed=False)
        play.wait(8)
    play.wait(60)
    cut = (
        "This guard dropped 3 messages that should have renewed it."
        if asks
        else "This guard had cut the port."
    )
    assert play.opened() == ["lease_lost"]
    assert play.summary("lease_lost") == f"tap7: lease of 10.0.0.7 lost. {cut} Not a DHCP fault."


def test_nak_loop() -> None:
    play = Play()
    for xid in range(3):
        play.ask(Act.TAKE, xid=xid)
        play.answer(Act.NAK, xid=xid, address=None, note="wrong network")
        play.wait(10)
    assert play.summary("nak_loop") == (
        f"tap7: the server {SERVER} refused {WHO} 3 times in 20 s: the client asks for what the "
        'server will not give. The server says: "wrong network".'
    )
    refused = [line for line in play.evidence("nak_loop") if "refused" in line]
    assert len(refused) == 2


def test_a_dhcpv6_lease_that_was_refused() -> None:
    play = Play()
    play.lease(60, family=6)
    play.wait(30)
    play.ask(Act.RENEW, xid=2, family=6)
    play.answer(Act.NAK, xid=2, family=6, address=None, note="NoBinding")
    play.wait(60)
    assert play.summary("lease_lost") == (
        f"tap7: lease of fd00::7 lost. The server {SERVER} refused the guest. The server says: "
        '"NoBinding".'
    )


def test_address_conflicts() -> None:
    play = Play()
    play.lease(60)
    play.ask(Act.DECLINE, xid=1)
    play.wait(2)
    assert play.summary("address_conflict") == (
        f"tap7: {WHO} declined 10.0.0.7: somebody else answers for it. Find who, before the "
        "server gives it out again."
    )
    play = Play()
    play.add_port(9, "tap9")
    play.lease(60)
    play.lease(60, port=9, mac="fa:16:3e:00:00:09")
    play.wait(2)
    said = {one.port: one.summary for _, one in play.incidents.values()}
    assert said == {
        "tap7": f"tap7: 10.0.0.7 is leased to {WHO} and to fa:16:3e:00:00:09 at tap9, by the "
        "server 10.0.0.1.",
        "tap9": "tap9: 10.0.0.7 is leased to fa:16:3e:00:00:09 of VM web and to fa:16:3e:00:00:07 "
        "at tap7, by the server 10.0.0.1.",
    }


def test_what_was_cut_and_repeated_is_in_the_time_line() -> None:
    play = Play()
    for count in range(4):
        play.step(Act.FIND, passed=count != 0)
        play.wait(4)
    lines = play.evidence("unanswered")
    assert lines[0] == "tap7: DHCPDISCOVER 10.0.0.7 from the guest - dropped by this guard"
    assert lines[1].startswith("tap7: DHCPDISCOVER 10.0.0.7 from the guest - 3 times, the last at ")


@pytest.mark.parametrize(
    ("zone_seconds", "text"),
    [
        (0, "01:59:47.412"),
        (3600, "02:59:47.412"),
        (-12_600, "22:29:47.412"),
        (20_700, "07:44:47.412"),
    ],
)
def test_the_dial(zone_seconds: int, text: str) -> None:
    dial = Dial(AT_WALL_NS - 5, zone_seconds)
    assert dial.wall_ns(5) == AT_WALL_NS
    assert dial.text(5) == text
    # Of a frame before the host's last boot.
    assert Dial(AT_WALL_NS + 5, zone_seconds).text(-5) == text


@pytest.mark.parametrize(
    ("duration_ns", "text"),
    [
        (-5, "0 ms"),
        (0, "0 ms"),
        (38_999_999, "38 ms"),
        (9_999_999_999, "9.9 s"),
        (10 * SECOND_NS, "10 s"),
        (59_999 * MILLISECOND_NS, "59 s"),
        (60 * SECOND_NS, "1m"),
        (43_200 * SECOND_NS, "12h"),
        (INFINITE_NS, "ever"),
    ],
)
def test_spans(duration_ns: int, text: str) -> None:
    assert span(duration_ns) == text
