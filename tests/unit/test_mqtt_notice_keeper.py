# SPDX-License-Identifier: Apache-2.0
"""What of this host's notices is at the broker."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sentinel.durations import SECOND_NS
from sentinel.mqtt.notice_keeper import NoticeKeeper

NOW_NS = 10**18
TOPIC = "tapsentinel/hv-1/notices/"


def notice(name: str, life_s: float = 60, message: str = "m") -> dict[str, Any]:
    expires_ns = NOW_NS + int(life_s * SECOND_NS)
    return {"id": name, "message": message, "expires_wall_ns": expires_ns, "withdrawn": False}


def keeper(folder: Path) -> NoticeKeeper:
    return NoticeKeeper(folder / "notices.json", "hv-1", "tapsentinel")


def told(one: NoticeKeeper, *notices: dict[str, Any]) -> dict[str, tuple[bytes, int]]:
    plan = one.plan(notices, NOW_NS)
    for topic, (message, _) in plan.items():
        one.told(topic, message)
    return plan


def test_each_is_told_once_with_the_rest_of_its_life(tmp_path: Path) -> None:
    one = keeper(tmp_path)
    assert told(one, notice("a", 59.5)) == {TOPIC + "a": (b"m", 60)}
    assert told(one, notice("a", 59.5)) == {}
    assert told(one, notice("a", message="withdrawn")) == {TOPIC + "a": (b"withdrawn", 60)}


def test_one_that_is_over_is_taken_back(tmp_path: Path) -> None:
    one = keeper(tmp_path)
    told(one, notice("a"), notice("b"))
    assert told(one, notice("a"), notice("b", 0)) == {TOPIC + "b": (b"", 0)}
    assert told(one) == {TOPIC + "a": (b"", 0)}
    assert one.is_empty


def test_those_of_an_earlier_publisher_are_known(tmp_path: Path) -> None:
    # Planned, and killed before it was told: it may be there.
    keeper(tmp_path).plan([notice("a"), notice("b")], NOW_NS)
    later = keeper(tmp_path)
    assert not later.is_empty
    assert told(later, notice("b")) == {TOPIC + "a": (b"", 0), TOPIC + "b": (b"m", 60)}
    assert told(keeper(tmp_path), notice("b")) == {TOPIC + "b": (b"m", 60)}


def test_a_new_connection_is_told_everything(tmp_path: Path) -> None:
    one = keeper(tmp_path)
    told(one, notice("a"))
    one.begin()
    assert told(one, notice("a")) == {TOPIC + "a": (b"m", 60)}


def test_a_file_of_rubbish_is_no_list(tmp_path: Path) -> None:
    for text in ("", "{}", "3", "[3]", '["other/topic"]', "\0"):
        (tmp_path / "notices.json").write_text(text)
        assert keeper(tmp_path).is_empty
