# SPDX-License-Identifier: Apache-2.0
"""Frames that the kernel throws away, by device, reason and place, in namespaces of our own."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sentinel import abi
from sentinel.decode_losses import IDLE_NS
from sentinel.errors import KernelError
from sentinel.loader import objects, syscall
from sentinel.loader.drops import DropTrace, describe_obstacle
from sentinel.loader.guard import Guard
from sentinel.loader.maps import CLOCK_MONOTONIC_COARSE
from sentinel.traffic import LossSeen
from tests.harness.blast import Blast, blast
from tests.harness.frames import BROADCAST, GUEST_MAC, Bpdu, bpdu, ethernet
from tests.harness.guarded_tap import GuardedTap
from tests.harness.namespaces import Namespace
from tests.harness.programs import loader_under_test, objects_under_test
from tests.harness.taps import Tap
from tests.harness.waiting import PATIENCE, wait_until

FOLDER = objects_under_test() or objects.OBJECTS_FOLDER
OBSTACLE = (
    describe_obstacle(loader_under_test(), FOLDER)
    if os.geteuid() == 0
    else "taps and BPF need root"
)

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="taps and BPF need root")
needs_trace = pytest.mark.skipif(OBSTACLE is not None, reason=str(OBSTACLE))

NOBODYS = 0x88B5  # a local experimental EtherType (IEEE 802): no protocol takes it
ORDINARY = ethernet(BROADCAST, GUEST_MAC, bytes(86), NOBODYS)
JUMBO = ethernet(BROADCAST, GUEST_MAC, bytes(9000), NOBODYS)
BURST = 100_000


def is_forwarding(netns: Namespace, *names: str) -> bool:
    links = json.loads(netns.run(["bridge", "-j", "link"]).stdout)
    states = {link["ifname"]: link.get("state") for link in links}
    return all(states.get(name) == "forwarding" for name in names)


def bridge(guarded: GuardedTap, *members: str) -> None:
    """The guarded tap and these on a bridge, forwarding."""
    guarded.netns.ip(
        "link add name br0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0",
        *(f"link set {name} master br0" for name in ("tap0", *members)),
        "link set br0 addrgenmode none up",
    )
    wait_until(lambda: is_forwarding(guarded.netns, "tap0", *members), 10, "the bridge to forward")


@pytest.fixture
def tap() -> Iterator[GuardedTap]:
    with GuardedTap() as guarded:
        yield guarded


@contextlib.contextmanager
def tracing(guarded: GuardedTap) -> Iterator[DropTrace]:
    trace = DropTrace(guarded.guard, FOLDER)
    try:
        with guarded.netns.enter():
            trace.start()
        yield trace
    finally:
        trace.close()


@pytest.fixture
def trace(tap: GuardedTap) -> Iterator[DropTrace]:
    with tracing(tap) as found:
        yield found


def losses(trace: DropTrace, frames: int = 1) -> list[LossSeen]:
    """Everything lost, once it is so many frames; there may turn out to be more."""
    wait_until(
        lambda: sum(one.frames for one in trace.read()) >= frames, 10, f"{frames} lost frames"
    )
    return trace.read()


def write(tap: Tap | None, frame: bytes, times: int = 1) -> None:
    assert tap is not None
    for _ in range(times):
        tap.write(frame)


@needs_trace
def test_larger_than_the_bridge_s_member(tap: GuardedTap, trace: DropTrace) -> None:
    tap.netns.ip(
        "link add name member0 mtu 1500 type veth peer name wire0",
        "link set wire0 addrgenmode none up",
        "link set member0 addrgenmode none up",
        "link set tap0 mtu 9000",
    )
    bridge(tap, "member0")
    write(tap.tap, ORDINARY)
    before_ns = time.monotonic_ns()
    write(tap.tap, JUMBO, 3)
    (loss,) = losses(trace, 3)
    assert (loss.from_ifindex, loss.at_ifindex) == (tap.ifindex, tap.netns_ifindex("member0"))
    assert loss.symbol == "br_dev_queue_push_xmit"
    assert (loss.frames, loss.bytes) == (3, 3 * len(JUMBO))
    assert loss.largest_bytes == len(JUMBO)
    assert before_ns <= loss.first_seen_ns <= loss.last_seen_ns <= time.monotonic_ns()
    assert loss.reason == "NOT_SPECIFIED", "the kernel says no more; the symbol does"


@needs_trace
def test_the_last_and_the_largest(tap: GuardedTap, trace: DropTrace) -> None:
    """The last one's time is right to a tick of the kernel's."""
    tick_ns = round(time.clock_getres(CLOCK_MONOTONIC_COARSE) * 1e9)
    write(tap.tap, ORDINARY)
    for extra in (50, 20):
        again_ns = time.monotonic_ns() + 2 * tick_ns
        wait_until(lambda at_ns=again_ns: time.monotonic_ns() > at_ns, 5, "two ticks")  # type: ignore[misc]
        write(tap.tap, ORDINARY + bytes(extra))
        (loss,) = trace.read()
        assert again_ns - tick_ns <= loss.last_seen_ns <= time.monotonic_ns()
        assert loss.first_seen_ns < again_ns - tick_ns
        assert loss.largest_bytes == len(ORDINARY) + 50
    assert loss.frames == 3


@needs_trace
def test_a_guest_that_does_not_empty_its_queue(tap: GuardedTap, trace: DropTrace) -> None:
    with Tap("tap1", tap.netns) as stuck:
        tap.netns.ip("link set tap1 txqueuelen 4")
        stuck.up()
        bridge(tap, "tap1")
        write(tap.tap, ORDINARY, 20)
        found = [one for one in losses(trace) if one.reason != "CPU_BACKLOG"]
        at = tap.netns_ifindex("tap1")
        assert [(one.from_ifindex, one.at_ifindex) for one in found] == [(tap.ifindex, at)]
        if found[0].reason.startswith("QDISC"):
            pytest.skip("this kernel's taps stop their queue: nothing is lost in the ring")
        assert (found[0].reason, found[0].symbol) == ("FULL_RING", "tun_net_xmit")
        assert found[0].frames == 16
        assert len(stuck.drain()) == 4


@needs_trace
def test_what_our_own_program_drops(trace_of_drop: tuple[GuardedTap, DropTrace]) -> None:
    """User space tells it apart by its reason."""
    guarded, trace = trace_of_drop
    write(guarded.tap, bpdu(Bpdu.RSTP).ljust(200, b"\0"), 5)
    (loss,) = losses(trace, 5)
    assert (loss.from_ifindex, loss.at_ifindex) == (guarded.ifindex, guarded.ifindex)
    assert (loss.reason, loss.frames, loss.bytes) == ("TC_INGRESS", 5, 1000)


@pytest.fixture
def trace_of_drop() -> Iterator[tuple[GuardedTap, DropTrace]]:
    with GuardedTap(bpdu="drop") as guarded, tracing(guarded) as trace:
        yield guarded, trace


@needs_trace
def test_others_frames_leave_no_row(tap: GuardedTap, trace: DropTrace) -> None:
    """Of an unwatched device, and of one with a watched one's ifindex elsewhere."""
    with (
        Namespace("far") as far,
        Tap("tap0", far, ifindex=tap.ifindex) as namesake,
        Tap("tap7", tap.netns) as unwatched,
    ):
        for one in (namesake, unwatched):
            one.up()
            write(one, ORDINARY, 10)
        write(tap.tap, ORDINARY)
        (loss,) = losses(trace)
        assert (loss.from_ifindex, loss.at_ifindex, loss.frames) == (tap.ifindex, tap.ifindex, 1)
        assert loss.bytes == len(ORDINARY)
        # The same two, now that they are watched: they were seen and left out.
        tap.attach(tap.netns_ifindex("tap7"))
        write(unwatched, ORDINARY, 10)
        assert sum(one.frames for one in losses(trace, 11)) == 11
        trace.close()
        with far.enter():
            trace.start()
        write(namesake, ORDINARY, 10)
        write(tap.tap, ORDINARY)
        assert sum(one.frames for one in losses(trace, 21)) == 21


@needs_trace
def test_a_port_whose_place_was_taken() -> None:
    """Also when the other one is gone from there."""
    with (
        GuardedTap(mtu_bytes=1500) as guarded,
        tracing(guarded) as trace,
        Tap("tap1", guarded.netns, ifindex=guarded.ifindex + abi.TAP_MAX_PORTS) as stray,
    ):
        stray.up()
        guarded.attach(guarded.netns_ifindex("tap1"))
        write(stray, ORDINARY)
        guarded.detach(guarded.ifindex)
        write(stray, ORDINARY)
        write(guarded.tap, ORDINARY)
        (loss,) = losses(trace)
        assert loss.at_ifindex == guarded.ifindex + abi.TAP_MAX_PORTS
        assert loss.frames == 2


def fill_up(guard: Guard, last_ns: int, count: int = abi.TAP_MAX_LOSSES) -> None:
    for at in range(count):
        key = abi.TAP_LOSS_KEY.pack(1 + at, 1 << 20, 1 << 20, 2, 0)
        value = abi.TAP_LOSS.pack(1, 60, last_ns, last_ns, 60, 0, b"some_function")
        syscall.map_update(guard.maps.fd("tap_losses"), key, value, "tap_losses")


@needs_trace
def test_a_full_table(tap: GuardedTap, trace: DropTrace) -> None:
    now_ns = time.monotonic_ns()
    fill_up(tap.guard, now_ns)
    write(tap.tap, ORDINARY, 3)
    wait_until(lambda: trace.unlisted() >= 3, 5, "three frames without a row")
    assert trace.unlisted() == 3
    assert trace.prune(now_ns + IDLE_NS) == 0, "none is idle yet"
    assert trace.prune(now_ns + IDLE_NS + 1) == trace.pruned == abi.TAP_MAX_LOSSES
    write(tap.tap, ORDINARY)
    (loss,) = losses(trace)
    assert (loss.at_ifindex, loss.frames) == (tap.ifindex, 1)
    assert trace.unlisted() == 3


@needs_trace
def test_devices_that_are_gone(tap: GuardedTap, trace: DropTrace) -> None:
    fill_up(tap.guard, 1, count=5)
    write(tap.tap, ORDINARY)
    assert len(losses(trace, 6)) == 2, "five places in one function are one"
    assert trace.prune(1 << 62) == 0, "there is room"
    assert trace.forget({1 << 20, 4}) == 5
    (loss,) = trace.read()
    assert trace.forget([]) == trace.forget([loss.at_ifindex + 1]) == 0
    assert trace.forget([loss.at_ifindex]) == 1
    assert trace.read() == []


@needs_trace
def test_a_burst_is_counted_exactly(tap: GuardedTap, trace: DropTrace) -> None:
    """By two writers at once, in one row."""
    assert tap.tap is not None
    with Blast(tap.tap, [ORDINARY], BURST) as one, Blast(tap.tap, [ORDINARY], BURST) as other:
        sent = one.wait().frames + other.wait().frames
    (loss,) = losses(trace, sent - trace.missed() - trace.unlisted())
    assert sent == 2 * BURST
    assert loss.frames + trace.missed() + trace.unlisted() == sent
    assert loss.bytes == loss.frames * len(ORDINARY)
    assert trace.missed() + trace.unlisted() < 5
    assert loss.at_ifindex == tap.ifindex


@needs_trace
def test_rows_stay_for_the_next(tap: GuardedTap) -> None:
    with tracing(tap) as first:
        write(tap.tap, ORDINARY)
        before = losses(first)
    write(tap.tap, ORDINARY)
    second = DropTrace(tap.guard, FOLDER)
    assert second.read() == before, "nobody counts in between"
    assert not second.is_on
    with tracing(tap) as third:
        assert third.is_on
        write(tap.tap, ORDINARY)
        (loss,) = losses(third, 2)
        assert (loss.frames, loss.first_seen_ns) == (2, before[0].first_seen_ns)


KILLED = """
import sys
import time
from pathlib import Path
from sentinel.loader import syscall
from sentinel.loader.drops import PROGRAM_NAME, DropTrace
from sentinel.loader.guard import Guard
from sentinel.loader.maps import CLOCK_MONOTONIC_COARSE
root, folder = map(Path, sys.argv[1:])
guard = Guard(root, "auto", folder)
guard.arm()
trace = DropTrace(guard, folder)
trace.start()
print(syscall.program_id(trace._programs[PROGRAM_NAME]), flush=True)
time.sleep(600)
"""


def is_loaded(program_id: int) -> bool:
    try:
        syscall.program_name(program_id)
    except KernelError:
        return False
    return True


def printed(process: subprocess.Popen[str]) -> str:
    """The next line that a process prints, or whatever it complains about."""
    assert process.stdout is not None
    assert process.stderr is not None
    ready, _, _ = select.select([process.stdout], [], [], 30 * PATIENCE)
    line = process.stdout.readline() if ready else ""
    if not line:
        process.kill()
        pytest.fail(f"it said nothing but {process.stderr.read()!r}")
    return line


@needs_trace
def test_killed_it_leaves_the_host_alone_and_the_guard_in_place(tap: GuardedTap) -> None:
    root, at = tap.root, tap.ifindex
    tap.guard.pins.unlock()
    child = tap.netns.popen([sys.executable, "-c", KILLED, root, FOLDER])
    program_id = int(printed(child))
    assert is_loaded(program_id)
    reader = DropTrace(tap.guard, FOLDER)
    write(tap.tap, ORDINARY)
    (loss,) = losses(reader)
    child.kill()
    child.wait()
    wait_until(lambda: not is_loaded(program_id), 10, "the program to go")
    counted = tap.counts()[0]["frames"]
    write(tap.tap, ORDINARY)
    wait_until(lambda: tap.counts()[0]["frames"] == counted + 1, 5, "the guard to count on")
    with tap.netns.enter():
        assert tap.guard.is_hooked(at)
    assert reader.read() == [loss]


@needs_trace
def test_nothing_of_it_is_pinned(tap: GuardedTap, trace: DropTrace) -> None:
    names = {path.name for path in tap.root.rglob("*")}
    assert not {name for name in names if "drop" in name}
    assert trace.is_on


@needs_trace
@pytest.mark.parametrize("damage", ["missing", "bcc"])
def test_it_says_why_it_is_off(
    tap: GuardedTap, damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace = DropTrace(tap.guard, tmp_path)
    words = "drops.bpf.o is missing"
    if damage == "bcc":
        monkeypatch.setattr(type(tap.guard), "loader", property(lambda _: "bcc"))
        words = "BCC, which does no CO-RE relocation"
    with pytest.raises(KernelError, match=words):
        trace.start()
    assert not trace.is_on
    assert trace.read() == []


def write_some(tap: GuardedTap) -> int:
    assert tap.tap is not None
    return blast(tap.tap, [ORDINARY], 100).frames


@needs_trace
def test_without_a_namespace_to_look_at_nothing_is_counted(
    tap: GuardedTap, trace: DropTrace
) -> None:
    nowhere = abi.TAP_LOSS_STATE.pack(0, 0, 0)
    syscall.map_update(tap.guard.maps.fd("tap_loss_state"), bytes(4), nowhere, "tap_loss_state")
    assert write_some(tap)
    assert trace.read() == []
