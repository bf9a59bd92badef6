# SPDX-License-Identifier: Apache-2.0
"""What the publisher decides without a broker: window, pauses, topics, states, words."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentinel.mqtt import topics
from sentinel.mqtt.backoff import FIRST_S, STEADY_S, Backoff
from sentinel.mqtt.explain import LONGEST_CHARS, explain, wants_older
from sentinel.mqtt.health import Health
from sentinel.mqtt.retained_states import RetainedStates
from sentinel.mqtt.window import Window


def test_the_cursor_is_the_last_before_which_nothing_is_missing() -> None:
    window = Window()
    for mid in (1, 2, 3):
        window.sent(mid, f"e-{mid}", 100 * mid)
    assert window.oldest_ns(250) == 150
    assert window.acknowledge(2) is None
    assert len(window) == 3
    assert window.acknowledge(2) is None, "the same again is nothing"
    assert window.acknowledge(9) is None, "one that was never sent is nothing"
    assert window.acknowledge(1) == "e-2"
    assert (len(window), window.acknowledged) == (1, 2)
    assert window.oldest_ns(350) == 50
    assert window.acknowledge(3) == "e-3"
    assert window.oldest_ns(10**9) == 0


def test_what_is_no_event_takes_room_and_is_waited_for_too() -> None:
    window = Window()
    window.begun(100)
    window.sent(1, "e-1", 200)
    assert (len(window), window.entries, window.oldest_ns(300)) == (2, 1, 200)
    window.ended(100)
    assert (len(window), window.entries, window.oldest_ns(300)) == (1, 1, 100)


@settings(deadline=None)
@given(st.permutations(range(40)))
def test_in_whatever_order_they_come_the_cursor_passes_none_that_is_missing(
    order: list[int],
) -> None:
    window = Window()
    for mid in range(40):
        window.sent(mid, str(mid), 0)
    seen: set[int] = set()
    cursors = []
    for mid in order:
        seen.add(mid)
        cursor = window.acknowledge(mid)
        if cursor is not None:
            assert set(range(int(cursor) + 1)) <= seen
            cursors.append(int(cursor))
    assert cursors == sorted(cursors)
    assert cursors[-1] == 39
    assert not len(window)


def test_pauses_double_with_jitter_up_to_the_longest() -> None:
    backoff = Backoff(10)
    assert [backoff.failed(0.999) for _ in range(7)] == pytest.approx(
        [0.5, 1, 2, 4, 8, 10, 10], rel=0.01
    )
    assert backoff.failed(0.0) == 5
    assert backoff.failed(0.0, STEADY_S - 1) == 5, "it did not hold"
    assert backoff.failed(0.0, STEADY_S) == FIRST_S / 2


def test_a_topic_has_as_many_levels_as_it_should_whatever_a_device_is_called() -> None:
    assert topics.port("hv-1", "tap0") == "tapsentinel/hv-1/ports/tap0"
    assert topics.event("hv-1", "port.gone", "site/a") == "site/a/hv-1/events/port.gone"
    assert topics.port("a/b", "+") == "tapsentinel/a%2Fb/ports/%2B"
    assert topics.level("#$%\0\x1b\udc80 ü") == "%23%24%25%00%1B%ED%B2%80 ü"
    assert topics.level("") == "%"


@settings(deadline=None)
@given(st.text(max_size=30), st.text(max_size=30))
def test_two_names_are_two_levels(one: str, other: str) -> None:
    assert (topics.level(one) == topics.level(other)) == (one == other)
    assert not set("/+#") & set(topics.level(one))
    topics.level(one).encode()


def test_only_what_changed_is_told_and_what_went_is_removed() -> None:
    states = RetainedStates(["p/gone"])
    first = states.changes({"p/a": b"1", "p/b": b"1"})
    assert first == {"p/a": b"1", "p/b": b"1", "p/gone": b""}
    assert states.planned(first), "two are to be listed before they are there"
    assert states.topics == ["p/a", "p/b", "p/gone"]
    for topic, state in first.items():
        states.told(topic, state)
    assert states.topics == ["p/a", "p/b"]
    second = states.changes({"p/a": b"1", "p/b": b"2"})
    assert second == {"p/b": b"2"}
    assert not states.planned(second)
    states.forget()
    assert states.changes({"p/a": b"1"}) == {"p/a": b"1", "p/b": b""}


@pytest.mark.parametrize(
    ("said", "meaning"),
    [
        ("[SSL: CERTIFICATE_VERIFY_FAILED] self-signed (_ssl.c:992)", "not trusted: see mqtt.ca"),
        (
            "[SSL: CERTIFICATE_VERIFY_FAILED] Hostname mismatch, certificate is not valid",
            "another name than mqtt.host",
        ),
        ("failed to receive: [SSL: TLSV13_ALERT_CERTIFICATE_REQUIRED]", "set mqtt.cert_file"),
        ("[code:135] Not authorized", "see its ACL"),
        ("Session taken over", "each host has its own"),
        ("", "no reason given"),
        ("[Errno 111] Connection refused", "Connection refused"),
    ],
)
def test_an_operator_is_told_what_it_means(said: str, meaning: str) -> None:
    assert meaning in explain(said)
    assert said in explain(said)


def test_what_is_said_is_bounded_and_one_line() -> None:
    assert len(explain("x\n" * 1000)) == LONGEST_CHARS
    assert "\n" not in explain("a\nb")
    assert wants_older("[code:132] Unsupported protocol version")


def test_health_says_since_when() -> None:
    health = Health("b:1")
    health.disconnected("first", 10)
    health.disconnected("second", 20)
    assert (health.disconnected_since_wall_ns, health.last_error) == (10, "second")
    health.connected("5", 30)
    since = health.connected_since_wall_ns
    assert (health.state, since) == ("connected", 30)
    # The last error stays to be seen.
    assert (health.disconnected_since_wall_ns, health.last_error) == (None, "second")
    health.disconnected("third", 40)
    assert health.disconnected_since_wall_ns == 40
    health.problems |= {"disk": "full", "ports": ""}
    told = health.report(f"{'a' * 16}-77", 5, 1, 9)
    assert (told["cursor_seq"], told["problems"], told["connects"]) == (77, ["full"], 1)
    assert health.report("", 0, 0, 0)["cursor_seq"] == 0
