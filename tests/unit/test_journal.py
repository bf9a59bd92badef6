# SPDX-License-Identifier: Apache-2.0
"""The log is numbered and kept; incidents and cuts are found again."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from sentinel.detect.evidence import LONGEST_MOMENT_CHARS, MOST_MOMENTS
from sentinel.durations import HOUR_NS
from sentinel.errors import JournalError
from sentinel.event import Event, Moment, PastCut, incident_updated
from sentinel.journal import Journal
from sentinel.journal_rows import LARGEST_EVIDENCE_BYTES, incident_of, incident_row
from sentinel.vm import UNKNOWN_VM, VmIdentity
from tests.harness.journals import NOON_NS, VM, event, incident, open_journal, quarantine


@pytest.fixture(name="path")
def _path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "journal.db"


@pytest.fixture(name="journal")
def _journal(path: Path) -> Iterator[Journal]:
    journal = open_journal(path)
    yield journal
    journal.close()


def test_entries_come_back_as_they_were_in_order_under_their_numbers(journal: Journal) -> None:
    given = [event(number) for number in range(1200)]
    assert journal.append(given) == list(range(1, 1201))
    got = journal.events_after(0, limit=5000)
    assert [entry.seq for entry in got] == list(range(1, 1201))
    assert [entry.event for entry in got] == given
    assert journal.append([]) == []
    assert journal.last_seq() == 1200
    assert journal.oldest_seq() == 1


def test_a_reader_goes_on_from_its_cursor(journal: Journal) -> None:
    journal.append([event(number) for number in range(10)])
    assert [entry.seq for entry in journal.events_after(4, limit=3)] == [5, 6, 7]
    assert journal.events_after(10) == []
    assert journal.events_after(10**18) == []
    assert journal.events_after(0, limit=-1) == []


def test_numbers_go_on_after_a_restart_even_if_history_was_removed(path: Path) -> None:
    first = open_journal(path)
    first.append([event(number) for number in range(5)])
    while first.prune(NOON_NS + 10**18):
        pass
    assert first.events_after(0) == []
    first.close()
    second = open_journal(path)
    assert second.append([event(6)]) == [6]
    assert second.status().ok
    assert second.status().entries == 1
    second.close()


def test_all_that_an_event_can_hold_is_kept_or_made_harmless(journal: Journal) -> None:
    odd = Event(
        kind="order.refused",
        time_ns=1 << 70,
        port="tap\udcff\x00",
        ifindex=-(1 << 70),
        vm=VmIdentity(uuid=None, name="\ud800\x1b[31m", source="ovs"),
        body={
            "text": "\udc80",
            "large": 1 << 80,
            "nothing": float("nan"),
            "list": [{"a": "\ud800"}],
        },
    )
    huge = event(1, padding=100_000)
    journal.append([odd, huge], must_persist=True)
    got, cut = (entry.event for entry in journal.events_after(0))
    assert got.port is not None
    assert "\\udcff" in got.port
    assert got.body["text"] == "\\udc80"
    assert got.body["large"] == str(1 << 80)
    assert got.body["nothing"] is None
    assert cut.body["message"] == "too large to be kept"
    assert journal.status().ok


def moments(text: str, count: int = MOST_MOMENTS) -> tuple[Moment, ...]:
    return tuple(Moment(NOON_NS + at, "tap12345678-9a", text) for at in range(count))


def test_a_full_time_line_is_kept_whole(journal: Journal) -> None:
    plain = incident(evidence=moments("x" * LONGEST_MOMENT_CHARS), frame_hex="ab" * 128)
    plain = replace(plain, summary="y" * 900)
    plain = replace(plain, id=journal.save_incident(plain))
    journal.append([incident_updated(plain)], must_persist=True)
    assert journal.incidents() == [plain]
    (entry,) = journal.events_after(0)
    told = entry.event.body["evidence"]
    assert told == [asdict(moment) for moment in plain.evidence]


def test_no_more_of_a_time_line_is_kept_than_its_bound(journal: Journal) -> None:
    longer = incident(evidence=moments("x", 3 * MOST_MOMENTS))
    journal.save_incident(longer)
    journal.append([incident_updated(longer)])
    (kept,) = journal.incidents()
    (entry,) = journal.events_after(0)
    assert len(kept.evidence) == MOST_MOMENTS
    assert entry.event.body["evidence"] == [asdict(moment) for moment in kept.evidence]
    assert kept.evidence[-1] == longer.evidence[-1]


def test_an_event_that_is_too_large_loses_its_time_line_first(journal: Journal) -> None:
    bulky = incident(evidence=moments("\x01" * LONGEST_MOMENT_CHARS), summary="y" * 9000)
    journal.append([incident_updated(bulky)])
    journal.append([incident_updated(replace(bulky, summary="y" * 16_000))])
    journal.append([incident_updated(replace(bulky, summary="y" * 17_000))])
    some, none, nothing = (entry.event.body for entry in journal.events_after(0))
    assert some["summary"] == bulky.summary
    lines = some["evidence"]
    assert isinstance(lines, list)
    assert 2 <= len(lines) < MOST_MOMENTS
    assert lines[-1] == asdict(bulky.evidence[-1])
    assert none["evidence"] == []
    assert none["frames"] == bulky.frames
    assert nothing["message"] == "too large to be kept"


def test_a_time_line_too_large_for_its_column_keeps_its_ends(path: Path, journal: Journal) -> None:
    kept = []
    for letter in ("\x01", "ü", "\udc80"):
        journal.save_incident(incident(evidence=moments(letter * LONGEST_MOMENT_CHARS)))
        kept.append(journal.incidents(limit=1)[0].evidence)
    assert [one[-1].time_ns - NOON_NS for one in kept] == [MOST_MOMENTS - 1] * 3
    assert all(2 <= len(one) <= MOST_MOMENTS for one in kept)
    with sqlite3.connect(path) as other:
        texts = [str(row[0]) for row in other.execute("SELECT evidence FROM incident")]
    other.close()
    assert all(len(text.encode()) <= LARGEST_EVIDENCE_BYTES for text in texts)
    assert kept[2][-1].text.startswith("\\udc80")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", 0), ("{}", 0), ("[", 0), ("null", 0), ("[1, [], null]", 0),
        ('[{"time_ns": 5}, {"time_ns": 5, "place": "tap0", "text": "a"}]', 1),
        ('[{"time_ns": "5", "place": 7, "text": ["a"]}]', 1),
        ('[{"time_ns": 123456789012345678901234567890, "text": "a"}]', 1),
        ("[" + ",".join(['{"text": "a"}'] * 999) + "]", MOST_MOMENTS),
        (b"\xff\x00", 0), (None, 0), (7, 0),
    ],
)  # fmt: skip
def test_a_damaged_time_line_hides_no_incident(text: object, found: int) -> None:
    row = (*incident_row(1, incident())[:16], text)
    read = incident_of(row)
    assert read.frames == incident().frames
    assert len(read.evidence) == found
    assert all(isinstance(one.time_ns, int) for one in read.evidence)


def test_an_incident_gets_a_number_and_keeps_its_latest_state(journal: Journal) -> None:
    number = journal.save_incident(incident())
    other = journal.save_incident(incident(port="tap1", opened_wall_ns=NOON_NS + 5))
    assert other == number + 1
    assert (
        journal.save_incident(incident(id=number, frames=7, closed_wall_ns=NOON_NS + 9)) == number
    )
    closed = next(one for one in journal.incidents() if one.id == number)
    assert (closed.frames, closed.closed_wall_ns, closed.vm) == (7, NOON_NS + 9, VM)
    assert [one.id for one in journal.incidents(open_only=True)] == [other]
    assert [one.id for one in journal.incidents(port="tap1", open_only=True)] == [other]
    assert [one.id for one in journal.incidents(port="tap0")] == [number]
    assert journal.incidents(port="tap0", open_only=True) == []


def test_incidents_are_the_newest_first_and_since_a_time(journal: Journal) -> None:
    for at in (3, 1, 2):
        journal.save_incident(incident(updated_wall_ns=NOON_NS + at))
    assert [one.updated_wall_ns - NOON_NS for one in journal.incidents()] == [3, 2, 1]
    assert [one.updated_wall_ns - NOON_NS for one in journal.incidents(since_ns=NOON_NS + 2)] == [
        3,
        2,
    ]
    assert len(journal.incidents(limit=1)) == 1


def test_incident_numbers_are_not_repeated(path: Path) -> None:
    first = open_journal(path)
    number = first.save_incident(incident())
    while first.prune(NOON_NS + 10**18):
        pass
    assert first.incidents() == []
    first.close()
    second = open_journal(path)
    assert second.save_incident(incident()) > number
    second.close()


def test_a_cut_is_active_until_it_is_closed(path: Path) -> None:
    first = open_journal(path)
    held = quarantine(vm=VM, uid=1000, cause="order")
    first.save_quarantine(held, must_persist=True)
    first.save_quarantine(quarantine(ifindex=8, port="tap1", since_wall_ns=NOON_NS - 1))
    first.close()
    second = open_journal(path)
    assert [cut.port for cut in second.active_quarantines()] == ["tap1", "tap0"]
    assert second.active_quarantines()[1] == held
    second.close_quarantine(7, NOON_NS, NOON_NS + 5, "hold")
    second.close_quarantine(99, NOON_NS, NOON_NS + 5, "hold")
    assert [cut.port for cut in second.active_quarantines()] == ["tap1"]
    second.close_quarantine(7, NOON_NS, NOON_NS + 9, "order")  # It is over already.
    assert second.past_cuts("tap0", VM, 0) == [PastCut("order", NOON_NS, NOON_NS + 5)]
    second.close()


def test_relapses_are_those_of_the_vm_or_of_the_port_if_it_is_unknown(journal: Journal) -> None:
    other_vm = VmIdentity(uuid="00000000-1111-2222-3333-444444444444", name="x", source="ovs")
    for at, (port, vm, cause) in enumerate(
        [
            ("vnet0", VM, "bpdu"),
            ("vnet5", VM, "vlan"),  # The same VM, started again behind another name.
            ("vnet0", other_vm, "bpdu"),  # Another VM behind the same name.
            ("vnet0", UNKNOWN_VM, "bpdu"),
            ("vnet0", VM, "order"),
            ("vnet9", UNKNOWN_VM, "bpdu"),
        ]
    ):
        since = NOON_NS + at * HOUR_NS
        journal.save_quarantine(
            quarantine(port=port, vm=vm, cause=cause, ifindex=at + 1, since_wall_ns=since)
        )
    assert journal.relapses("vnet0", VM, 0) == 3
    assert journal.relapses("vnet0", VM, NOON_NS + HOUR_NS) == 2
    assert journal.relapses("vnet0", other_vm, 0) == 2
    assert journal.relapses("vnet0", UNKNOWN_VM, 0) == 3
    assert journal.relapses("vnet1", None, 0) == 0
    newest_first = [cut.since_wall_ns for cut in journal.past_cuts("vnet0", VM, 0)]
    assert newest_first == sorted(newest_first, reverse=True)


def test_states_and_events_can_be_written_together(path: Path, journal: Journal) -> None:
    def committed() -> tuple[int, int, int]:
        with sqlite3.connect(path) as other:
            counts = [
                other.execute(query).fetchone()[0]
                for query in (
                    "SELECT count(*) FROM event",
                    "SELECT count(*) FROM incident",
                    "SELECT count(*) FROM quarantine WHERE released_wall_ns IS NOT NULL",
                )
            ]
        other.close()
        return counts[0], counts[1], counts[2]

    with journal.together():
        journal.save_incident(incident())
        journal.save_quarantine(quarantine())
        journal.close_quarantine(7, NOON_NS, NOON_NS + 5, "hold")
        assert committed() == (0, 0, 0)
        assert len(journal.incidents()) == 1, "what waits can be read already"
        journal.append([event(1)], must_persist=True)
        assert committed() == (1, 1, 1)
        journal.save_incident(incident())
        journal.append([], must_persist=True)
        assert committed() == (1, 2, 1)
        journal.save_incident(incident())
    assert committed() == (1, 3, 1)


def test_a_second_writer_is_refused(path: Path, journal: Journal) -> None:
    journal.append([event(1)])
    with pytest.raises(JournalError, match="another process writes this journal"):
        open_journal(path)
    journal.append([event(2)], must_persist=True)


def test_a_closed_journal_says_so(path: Path) -> None:
    journal = open_journal(path)
    journal.close()
    journal.close()
    with pytest.raises(JournalError, match="closed"):
        journal.append([event(1)])
    with pytest.raises(JournalError, match="closed"):
        journal.events_after(0)


def test_only_its_owner_can_read_the_files(path: Path, journal: Journal) -> None:
    journal.append([event(1)])
    for file in path.parent.iterdir():
        assert file.stat().st_mode & 0o077 == 0, file


def test_the_status_is_plain(path: Path, journal: Journal) -> None:
    journal.append([event(1), event(2)])
    status = journal.status()
    assert status.ok
    assert status.writing
    assert status.problem is None
    assert (status.entries, status.pending, status.lost, status.last_seq) == (2, 0, 0, 2)
    assert status.path == str(path)
    on_disk = sum(Path(f"{path}{end}").stat().st_size for end in ("", "-wal"))
    assert status.size_bytes == on_disk


_WRITER = """
import sys
from pathlib import Path
from tests.harness.journals import event, incident, open_journal
journal = open_journal(Path(sys.argv[1]))
number = int(sys.argv[2])
while True:
    many = number % 40 + 1
    seqs = journal.append([event(number + at) for at in range(many)], must_persist=True)
    # One write call for each: a line is there whole or not at all.
    sys.stdout.write(f"{seqs[0]} {seqs[-1]} {number}\\n")
    sys.stdout.flush()
    number += many
"""


def test_what_was_acknowledged_survives_kill_9(path: Path) -> None:
    acknowledged: dict[int, int] = {}
    chance = random.Random(os.getpid())
    root = Path(__file__).parents[2]
    for life in range(6):
        child = subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(path), str(life * 1_000_000)],
            stdout=subprocess.PIPE,
            cwd=root,
            env={**os.environ, "PYTHONPATH": str(root)},
        )
        assert child.stdout is not None
        with child.stdout as lines:
            for _ in range(chance.randrange(1, 120)):
                first, last, number = map(int, next(lines).split())
                for at, seq in enumerate(range(first, last + 1)):
                    assert seq not in acknowledged, "a number was given twice"
                    acknowledged[seq] = number + at
            child.send_signal(signal.SIGKILL)
            for line in lines:
                if not line.endswith(b"\n"):
                    break
                first, last, number = map(int, line.split())
                for at, seq in enumerate(range(first, last + 1)):
                    acknowledged[seq] = number + at
        assert child.wait() == -signal.SIGKILL
    journal = open_journal(path)
    kept = {}
    cursor = 0
    while entries := journal.events_after(cursor, limit=10_000):
        kept.update({entry.seq: entry.event.body.get("number") for entry in entries})
        cursor = entries[-1].seq
    assert acknowledged.items() <= kept.items()
    assert list(kept) == list(range(1, len(kept) + 1)), "a kill leaves no gap"
    assert journal.status().ok
    journal.close()
