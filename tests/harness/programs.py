# SPDX-License-Identifier: Apache-2.0
"""The loaded programs, run on frames by BPF_PROG_TEST_RUN beside their model.

A guard on pins of its own, ports that are bridges without members in a namespace
of its own (any ifindex can be asked for), and windows of an hour, so that time
stands still where a test does not move them by hand.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from sentinel import abi
from sentinel.decode import (
    CHECKS,
    CheckSetting,
    KernelConfig,
    KernelEvent,
    check_bits,
    decode_event,
)
from sentinel.decode_message import KernelMessage, decode_message
from sentinel.errors import KernelError
from sentinel.loader import objects, syscall
from sentinel.loader._libbpf import ffi, lib
from sentinel.loader.guard import Guard
from sentinel.loader.maps import PinnedMaps
from sentinel.loader.pair_rows import PairRows
from sentinel.loader.ring import MessageRing, Ring
from sentinel.traffic import PairSeen
from tests.harness.closing import Closing
from tests.harness.compiled import COMPILED
from tests.harness.enclosure import Enclosure
from tests.harness.model import Counts, Model, ModelPort, Stamp, flat
from tests.harness.model_pairs import REST, table
from tests.harness.slot_memory import SlotMemory

BPFFS = Path("/sys/fs/bpf")
HOUR_NS = 3_600_000_000_000
NEXT, DROP = -1, 2  # TCX_NEXT is TC_ACT_UNSPEC, TCX_DROP is TC_ACT_SHOT
FROM_GUEST, TO_GUEST, TO_WIRE, FROM_WIRE = (
    "tap_from_guest", "tap_to_guest", "uplink_to_wire", "uplink_from_wire",
)  # fmt: skip
PROGRAMS = (FROM_GUEST, TO_GUEST, TO_WIRE, FROM_WIRE)
ROLES = {"port": abi.TAP_ROLE_PORT, "uplink": abi.TAP_ROLE_UPLINK}

PORT, OTHER_PORT, UPLINK, UNWATCHED = 11, 12, 21, 31
STRAYS = (PORT + abi.TAP_MAX_PORTS, PORT + 2 * abi.TAP_MAX_PORTS)
DEVICES = (PORT, OTHER_PORT, UPLINK, UNWATCHED, *STRAYS)

Setting = str | CheckSetting


class FrameRefusedError(Exception):
    """BPF_PROG_TEST_RUN itself refuses the frame: too long, or a runt of IP (newer kernels)."""


class IngressRefusedError(Exception):
    """BPF_PROG_TEST_RUN cannot set ingress_ifindex (kernels before 5.14)."""


def own_pins() -> Path:
    """A bpffs folder that nobody else uses; what killed runs left of theirs is removed."""
    for path in BPFFS.glob("ts-prog-*-*"):
        if not Path(f"/proc/{path.name.split('-')[2]}").exists():
            remove_pins(path)
    return BPFFS / f"ts-prog-{os.getpid()}-{secrets.token_hex(3)}"


def objects_under_test() -> Path | None:
    """A folder of other objects, for seeing tests fail; None: those of the product."""
    variant = os.environ.get("TAPSENTINEL_OBJECTS")
    return Path(variant) if variant else None


def loader_under_test() -> str:
    """What `kernel.loader` is in tests that say nothing of it."""
    return os.environ.get("TAPSENTINEL_LOADER") or "auto"


def remove_pins(root: Path) -> None:
    """Unpin everything under a folder; one that is not there is no error."""
    for path in sorted(root.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    with contextlib.suppress(FileNotFoundError):
        root.rmdir()


def config(
    checks: Mapping[str, Setting] | None = None,
    *,
    host_bpdu: str = "count",
    events_per_window: int = 10,
    max_quarantined: int = 1000,
    messages_per_window: int = 20,
) -> KernelConfig:
    """Checks that are not named count; one that is named by its action has its usual threshold."""
    wanted = checks or {}
    settings = []
    for check in CHECKS:
        setting = wanted.get(check, "count")
        if isinstance(setting, str):
            setting = within(100 if check == "dhcp_flood" else 1, setting)
        settings.append(setting)
    return KernelConfig(
        tuple(settings),
        host_bpdu,
        events_per_window,
        HOUR_NS,
        max_quarantined,
        messages_per_window,
    )


def within(threshold: int, action: str = "quarantine") -> CheckSetting:
    """A check that cuts at its `threshold`-th offence of this hour."""
    return CheckSetting(action, threshold, HOUR_NS)


class Programs(Closing):
    """Context manager. `enter` a test, `add` ports, `run` frames, `check` against the model."""

    def __init__(self, objects_folder: Path | None = None, loader: str = "") -> None:
        self.root = own_pins()
        self.guard = Guard(
            self.root, "auto", objects_folder, loader or loader_under_test(), COMPILED
        )
        self.netns = Enclosure()
        self._retval, self._duration = ffi.new("uint32_t *"), ffi.new("uint32_t *")
        self._ring: Ring | None = None
        self._messages: MessageRing | None = None
        self._memory: SlotMemory | None = None
        self._fds: dict[str, int] = {}
        self._pairs: list[PairSeen] = []
        self.model = Model(config())
        try:
            self.netns.ip(*(f"link add name d{i} index {i} type bridge" for i in DEVICES))
            self.guard.arm(config())
            self._fds = objects.open_pinned(self.guard.pins) or {}
            self._ring = Ring(self.maps.fd("tap_ring"))
            self._messages = MessageRing(self.maps.fd("tap_messages"))
            self._memory = SlotMemory(self.maps)
            self.pairs = PairRows(self.maps)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Remove pins and namespace; may be called again."""
        for opened in (self._ring, self._messages, self._memory):
            if opened is not None:
                opened.close()
        self._ring = self._messages = self._memory = None
        objects.close_all(self._fds)
        self.guard.close()
        remove_pins(self.root)
        self.netns.close()

    @contextlib.contextmanager
    def enter(self) -> Iterator[Programs]:
        """One test: inside the namespace, with no port, nothing cut and an empty ring."""
        for slot in self.maps.slots():
            self.maps.release_slot(slot.ifindex)
        self.model = Model(config())
        self.configure()
        self.drain()
        self.drain_messages()
        self.forget_exchanges()
        with self.netns.enter():
            yield self

    @property
    def memory(self) -> SlotMemory:
        """What the programs remember beside counters."""
        if self._memory is None:
            raise RuntimeError("the programs are closed")
        return self._memory

    @property
    def maps(self) -> PinnedMaps:
        """The guard's maps."""
        return self.guard.maps

    def configure(
        self,
        several: Mapping[str, Setting] | None = None,
        *,
        host_bpdu: str = "count",
        events_per_window: int = 10,
        max_quarantined: int = 1000,
        messages_per_window: int = 20,
        **checks: Setting,
    ) -> None:
        """Tell the programs, and the model, what to do from now on."""
        self.model.config = config(
            {**(several or {}), **checks},
            host_bpdu=host_bpdu,
            events_per_window=events_per_window,
            max_quarantined=max_quarantined,
            messages_per_window=messages_per_window,
        )
        self.maps.write_config(self.model.config)

    def add(
        self,
        ifindex: int = PORT,
        *,
        role: str = "port",
        mtu_bytes: int = 0,
        trusted: Collection[str] = (),
    ) -> None:
        """Watch a device afresh: counters at zero, latch open."""
        self.remove(ifindex)
        self.maps.claim(ifindex, ROLES[role], mtu_bytes, check_bits(frozenset(trusted)))
        self.model.add(ModelPort(ifindex, role, mtu_bytes, frozenset(trusted)))

    def remove(self, ifindex: int) -> None:
        """Watch a device no longer."""
        self.maps.release_slot(ifindex)
        self.model.remove(ifindex)

    def run(
        self,
        program: str,
        frame: bytes,
        ifindex: int = PORT,
        *,
        ingress_ifindex: int = 0,
        segment_bytes: int = 0,
    ) -> bool:
        """Run a program on a frame; whether it drops it. Raises FrameRefusedError and kin."""
        result = lib.ts_test_run(
            self._fds[program], frame, len(frame), ifindex, ingress_ifindex, segment_bytes, 1,
            self._retval, self._duration,
        )  # fmt: skip
        if result == -errno.EINVAL:
            if ingress_ifindex and self._knows_no_ingress(program):
                raise IngressRefusedError
            raise FrameRefusedError(f"{len(frame)} bytes: {frame[:64].hex()}")
        syscall.check(result, f"run {program} on {len(frame)} bytes")
        return verdict_drops(self._retval[0])

    def check(
        self,
        program: str,
        frame: bytes,
        ifindex: int = PORT,
        *,
        ingress_ifindex: int = 0,
        segment_bytes: int = 0,
    ) -> bool:
        """`run`, and hold verdict, clocks, counters and latches against the model's."""
        dropped = self.run_beside_model(
            program, frame, ifindex, ingress_ifindex=ingress_ifindex, segment_bytes=segment_bytes
        )
        self.assert_model()
        return dropped

    def run_beside_model(
        self,
        program: str,
        frame: bytes,
        ifindex: int = PORT,
        *,
        ingress_ifindex: int = 0,
        segment_bytes: int = 0,
    ) -> bool:
        """`run`, and hold verdict and clocks against the model's; counters may wait."""
        found = self.maps.find(ifindex)
        if found is not None:
            self.memory.clear_clocks(found.slot)
        dropped = self.run(
            program, frame, ifindex, ingress_ifindex=ingress_ifindex, segment_bytes=segment_bytes
        )
        expected = self.model.frame(
            program, ifindex, frame, ingress_ifindex=ingress_ifindex, segment_bytes=segment_bytes
        )
        assert dropped == expected, f"{program} drops: {dropped}; {frame.hex()}"
        if found is not None:
            stamped = self._stamped(ifindex, found.slot)
            assert stamped == self.model.stamped, f"{program} stamps {stamped}; {frame.hex()}"
        return dropped

    def _stamped(self, ifindex: int, slot: int) -> Stamp | None:
        """The one clock that was set since they were cleared."""
        set_at = [at for at, time_ns in enumerate(self.memory.clocks(slot)) if time_ns]
        assert len(set_at) <= 1, f"{len(set_at)} clocks were set"
        return Stamp(ifindex, bool(set_at[0] & 1), set_at[0] > 1) if set_at else None

    def assert_model(self) -> None:
        """Counters of every port, latches and the fuse are the model's."""
        slots = {slot.ifindex: slot for slot in self.maps.slots()}
        ports = list(self.model.ports.values())
        self._pairs = self.pairs.read()
        pairs = self.maps.counters([slots[port.ifindex].slot for port in ports])
        for port, (inward, outward) in zip(ports, pairs, strict=True):
            for way, found, expected in (
                ("in", flat(inward), +port.inward),
                ("out", flat(outward), +port.outward),
            ):
                assert found == expected, f"{port.ifindex} {way}: {difference(found, expected)}"
            missed = self.maps.talk(slots[port.ifindex].slot).missed
            assert missed == port.talk.missed, f"{port.ifindex} missed {missed} messages"
            self._assert_pairs(port, slots[port.ifindex].slot)
            cause = slots[port.ifindex].cause
            assert cause == port.cause, f"{port.ifindex} is shut by {cause}, not {port.cause}"
        quarantined = self.maps.state().quarantined
        assert quarantined == self.model.quarantined, f"{quarantined} ports are shut"

    def _assert_pairs(self, port: ModelPort, slot: int) -> None:
        found, expected = table(self._pairs, port.ifindex), port.pairs.rows
        odd = found.keys() ^ expected.keys()
        assert not odd, f"{port.ifindex}: rows of one side alone: {sorted(odd)}"
        for key, row in expected.items():
            assert found[key] == row, f"{port.ifindex} {key}: {found[key]}, not {row}"
        room = sum(key.outer != REST for key in expected)
        assert self.maps.pair_rooms()[slot] == room, f"{port.ifindex}: {room} rows"

    def counts(self, ifindex: int = PORT) -> tuple[Counts, Counts]:
        """(in, out) of a device."""
        ((inward, outward),) = self.maps.counters([self.slot(ifindex)])
        return flat(inward), flat(outward)

    def slot(self, ifindex: int = PORT) -> int:
        """Where a watched device's state lives."""
        found = self.maps.find(ifindex)
        if found is None:
            raise LookupError(f"device {ifindex} has no slot")
        return found.slot

    def cause(self, ifindex: int = PORT) -> str | None:
        """What shut a port, or None."""
        found = self.maps.find(ifindex)
        return found.cause if found else None

    def drain(self) -> list[KernelEvent]:
        """Every event in the ring, oldest first."""
        if self._ring is None:
            return []
        events = []
        while records := self._ring.drain():
            events += [decode_event(record) for record in records]
        return events

    def message_records(self) -> list[bytes]:
        """Every record in the ring of DHCP messages, oldest first."""
        records: list[bytes] = []
        while self._messages is not None and (batch := self._messages.drain()):
            records += batch
        return records

    def drain_messages(self) -> list[KernelMessage]:
        """The same as messages."""
        return [decode_message(record) for record in self.message_records()]

    def forget_exchanges(self) -> None:
        """No answer is expected any more, and none was told that nobody waited for."""
        self.memory.forget_exchanges()
        self.model.messages.forget()

    def _knows_no_ingress(self, program: str) -> bool:
        frame = bytes(60)
        results = [
            lib.ts_test_run(
                self._fds[program], frame, len(frame), UNWATCHED, ingress, 0, 1,
                self._retval, self._duration,
            )
            for ingress in (0, UNWATCHED)
        ]  # fmt: skip
        return results == [0, -errno.EINVAL]


def verdict_drops(retval: int) -> bool:
    """Whether a program's answer drops. Raises KernelError for one that is none of ours."""
    if retval in (DROP, NEXT & 0xFFFFFFFF):
        return retval == DROP
    raise KernelError(f"a program answered {retval:#x}")


def difference(found: Counts, expected: Counts) -> str:
    """What the kernel counted more (+) or less (-) than the model."""
    names = sorted({*found, *expected})
    gaps = {name: found[name] - expected[name] for name in names}
    return ", ".join(f"{name} {gap:+}" for name, gap in gaps.items() if gap)
