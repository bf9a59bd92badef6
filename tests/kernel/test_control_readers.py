# SPDX-License-Identifier: Apache-2.0
"""Who may only look looks, and gives no order, whatever it sends."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from sentinel.cli_client import Client
from sentinel.errors import ControlError, RefusedError
from tests.harness.canned_control import CannedControl, canned_control, port
from tests.harness.users import STRANGER_UID, as_user
from tests.harness.waiting import wait_until

MEMBERS_GID, READERS_GID = 54399, 54398

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="becoming somebody else takes root")


@pytest.fixture(name="control")
def _control() -> Iterator[CannedControl]:
    with canned_control(group=MEMBERS_GID, readers=READERS_GID) as served:
        served.daemon.ports_answer = [port("tap1", 1)]
        served.daemon.add_events(3, id="x")
        yield served


def asked(
    control: CannedControl, gid: int, op: str, *, uid: int = STRANGER_UID, **members: Any
) -> str:
    path = str(control.path)

    def ask() -> str:
        try:
            with Client(path) as client:
                client.ask(op, **members)
        except (ControlError, RefusedError) as error:
            return str(error)
        return "ok"

    return str(as_user(ask, uid, gid))


REPORT = {"state": "connected", "broker": "b:1"}


@pytest.mark.parametrize(
    ("op", "members"),
    [
        ("ping", {}),
        ("status", {}),
        ("ports", {}),
        ("show", {"port": "tap1"}),
        ("incidents", {}),
        ("dhcp", {}),
        ("watch", {"ids": ["x"]}),
    ],
)
def test_a_reader_may_look(control: CannedControl, op: str, members: dict[str, Any]) -> None:
    assert asked(control, READERS_GID, op, **members) == "ok"
    assert asked(control, MEMBERS_GID, op, **members) == "ok"
    assert "only root and members" in asked(control, STRANGER_UID, op, **members)


@pytest.mark.parametrize("op", ["quarantine", "release", "reload"])
def test_a_reader_gives_no_order_and_that_it_tried_is_journaled(
    control: CannedControl, op: str
) -> None:
    members: dict[str, Any] = {} if op == "reload" else {"port": "tap1"}
    said = asked(control, READERS_GID, op, **members)
    assert "only root and members of the group set as control.group may give orders" in said
    assert control.daemon.orders == []
    wait_until(lambda: control.daemon.refusals, 5, "the refusal to be told")
    assert control.daemon.refusals[0][0].uid == STRANGER_UID
    assert asked(control, MEMBERS_GID, op, **members) == "ok"
    assert len(control.daemon.orders) == 1


@pytest.mark.parametrize(
    ("op", "members"),
    [
        ("report", REPORT),
        ("notices", {}),
        ("carry", {"what": "order", "message": "{}", "via": "b"}),
        ("carry", {"what": "notice", "message": "{}"}),
    ],
)
def test_what_came_over_mqtt_is_for_root_and_the_publisher_to_bring(
    op: str, members: dict[str, Any]
) -> None:
    with canned_control(
        group=MEMBERS_GID, readers=READERS_GID, publisher_uid=STRANGER_UID + 1
    ) as control:
        for gid in (READERS_GID, MEMBERS_GID):
            assert "set as mqtt.user may bring" in asked(control, gid, op, **members)
        assert control.daemon.carried == []
        assert control.daemon.reports == []
        wait_until(lambda: control.daemon.refusals, 5, "the refusal to be told")
        assert asked(control, READERS_GID, op, uid=STRANGER_UID + 1, **members) == "ok"
        with Client(str(control.path)) as client:
            client.ask(op, **members)
        if op == "carry":
            assert len(control.daemon.carried) == 2
    with canned_control(group=MEMBERS_GID, readers=READERS_GID) as control:
        assert "set as mqtt.user may bring" in asked(
            control, READERS_GID, op, uid=STRANGER_UID + 1, **members
        )


def test_a_watch_goes_on_after_what_was_had(control: CannedControl) -> None:
    for at, one in enumerate(control.daemon.events, 1):
        one["id"] = f"e-{at}"
    for ids, first in ((["e-2", "e-1"], 3), (["lost", "e-1"], 2), (["lost"], 1), ([], 1)):
        with Client(str(control.path)) as client:
            answer = client.ask("watch", ids=ids)
            assert answer == (
                b'{"after":%d,"known":%s}' % (first - 1, b"true" if first > 1 else b"false")
            )
    assert "not a request" in asked(control, READERS_GID, "watch", ids=["x"] * 17)
    assert "not a request" in asked(control, READERS_GID, "watch", ids=["x" * 65])


def test_who_may_not_look_any_more_is_hung_up_on(control: CannedControl) -> None:
    path = str(control.path)
    ready, go = control.path.parent / "ready", control.path.parent / "go"

    def follow() -> int:
        signal.alarm(30)  # nobody hangs up: the fork ends all the same
        with Client(path) as client:
            seen = client.watch(0)
            told = [next(seen) for _ in range(3)]
            ready.touch()
            wait_until(go.exists, 10, "the groups to change")
            return len(told) + sum(1 for _ in seen)

    def allow_nobody() -> None:
        wait_until(ready.exists, 10, "the watch")

        async def change() -> None:
            control.server.allow(MEMBERS_GID, None, None)

        control.call(change())
        go.touch()
        control.tell(5)

    control.path.parent.chmod(0o777)
    with ThreadPoolExecutor(1) as pool:
        changing = pool.submit(allow_nobody)
        assert as_user(follow, STRANGER_UID, READERS_GID) == 3
        changing.result()
    assert "only root and members" in asked(control, READERS_GID, "ping")
    assert asked(control, MEMBERS_GID, "ping") == "ok"
    with Client(path) as client:
        assert client.ask("ping") == b"{}"
