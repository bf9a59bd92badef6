# SPDX-License-Identifier: Apache-2.0
"""The guard in the kernel as the daemon handles it: arm, attach, order, read.

Everything it does survives this process. It never opens a gap: programs are
replaced link by link, each in one step, after what they need is in the maps.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from sentinel import abi
from sentinel.decode import KernelConfig
from sentinel.errors import AbiError, KernelError, NotArmedError
from sentinel.loader import objects, syscall
from sentinel.loader._libbpf import lib
from sentinel.loader.attach import (
    SIDES,
    Attacher,
    all_attachers,
    choose_attacher,
    detach_everywhere,
)
from sentinel.loader.bcc import SignOfLife
from sentinel.loader.carry import carry_latches, carry_orders
from sentinel.loader.choose import Loader, choose_loader
from sentinel.loader.maps import PinnedMaps
from sentinel.loader.pins import Pins

PROGRAM_OF = {
    (abi.TAP_ROLE_PORT, "in"): "tap_from_guest",
    (abi.TAP_ROLE_PORT, "out"): "tap_to_guest",
    (abi.TAP_ROLE_UPLINK, "in"): "uplink_from_wire",
    (abi.TAP_ROLE_UPLINK, "out"): "uplink_to_wire",
}


@dataclass(frozen=True, slots=True)
class Armed:
    """How the guard came to be: `adopted` programs ran already, `carried` latches were moved."""

    adopted: bool
    carried: int


class Guard:
    """Programs, maps and links under one bpffs folder; one per daemon."""

    def __init__(
        self,
        bpffs_dir: Path,
        attach: str,
        objects_folder: Path | None = None,
        loader: str = "auto",
        compiled_folder: Path | None = None,
        sign_of_life: SignOfLife | None = None,
    ) -> None:
        """See `choose_loader` for the last two."""
        self.pins = Pins(bpffs_dir)
        self._wanted_attach = attach
        self._objects_folder = objects_folder or objects.OBJECTS_FOLDER
        self._wanted_loader = loader
        self._compiled_folder = compiled_folder
        self._sign_of_life = sign_of_life
        self._loader: Loader | None = None
        self._programs: dict[str, int] = {}
        self._maps: PinnedMaps | None = None
        self._attacher: Attacher | None = None
        self._others: tuple[Attacher, ...] = ()

    @property
    def maps(self) -> PinnedMaps:
        """The maps. Raises NotArmedError before `arm`."""
        if self._maps is None:
            raise NotArmedError("the guard is not armed yet")
        return self._maps

    @property
    def hook(self) -> str:
        """ "tcx" or "clsact"."""
        return self._attacher.name if self._attacher else "none"

    @property
    def loader(self) -> str:
        """ "libbpf" or "bcc"."""
        return self._loader.name if self._loader else "none"

    def arm(self, config: KernelConfig | None = None) -> Armed:
        """Gets programs and maps ready; what was attached before goes on meanwhile.

        Without a `config` the maps keep the one they have; fresh ones only count.
        Raises PinsBusyError if another daemon is here, AbiError, KernelError.
        """
        # What libbpf says belongs into our errors, not onto stderr.
        lib.ts_log_start()
        self.pins.prepare()
        self.pins.lock()
        self._loader = choose_loader(
            self._wanted_loader,
            self._objects_folder,
            self._compiled_folder,
            self._sign_of_life,
        )
        build = self._loader.build_number()
        adopted = self._adopt(build)
        if not adopted:
            self._programs = self._loader.load(self.pins)
            self._maps = PinnedMaps(self.pins)
        if config is not None:
            self.maps.write_config(config)
        carried = self._carry()
        self.maps.recount()
        if not adopted:
            objects.pin_all(self._programs, self.pins)
            self.maps.mark_build(build)
        self._attacher = choose_attacher(
            self._wanted_attach, self.pins, self._programs["tap_from_guest"]
        )
        self._others = tuple(
            each for each in all_attachers(self.pins) if each.name != self._attacher.name
        )
        return Armed(adopted, carried)

    def _adopt(self, build: int) -> bool:
        """Takes over pinned programs of the same build."""
        try:
            maps = PinnedMaps(self.pins)
        except (NotArmedError, AbiError):
            return False
        programs = objects.open_pinned(self.pins) if maps.state().build == build else None
        if programs is None:
            maps.close()
            return False
        self._maps, self._programs = maps, programs
        return True

    def attach(self, ifindex: int, role: int, mtu_bytes: int, trusted_checks: int) -> bool:
        """Guards a device from the return on; True if it was guarded already.

        A slot without a living hook belonged to an earlier device of that
        ifindex, and goes with all that was kept of it. Raises PortGoneError,
        KernelError.
        """
        attacher = self._armed()
        if self.maps.find(ifindex) is not None and not self.is_hooked(ifindex):
            self.maps.release_slot(ifindex)
        self.maps.claim(ifindex, role, mtu_bytes, trusted_checks)
        try:
            adopted = [
                attacher.attach(ifindex, side, self._programs[PROGRAM_OF[role, side]])
                for side in SIDES
            ]
        except KernelError:
            self.detach(ifindex)
            raise
        for other in self._others:
            for side in SIDES:
                other.detach(ifindex, side)
        return all(adopted)

    def set_device(self, ifindex: int, role: int, mtu_bytes: int, trusted_checks: int) -> None:
        """Changes what the programs know of a device that is attached."""
        self.maps.change(ifindex, role, mtu_bytes, trusted_checks)

    def is_hooked(self, ifindex: int) -> bool:
        """Whether a program of ours, of any version, runs at a side of the device."""
        return any(
            each.is_attached(ifindex, side) for each in all_attachers(self.pins) for side in SIDES
        )

    def detach(self, ifindex: int) -> None:
        """Guards a device no longer, and forgets its slot. One that is gone is no error."""
        maps = self.maps
        detach_everywhere(self.pins, ifindex)
        maps.release_slot(ifindex)

    def sweep(self, known: Collection[int]) -> list[int]:
        """Detaches what is not in `known` (ifindexes); returns what that was."""
        slots = {slot.ifindex for slot in self.maps.slots()}
        stale = sorted((self.pins.devices() | slots) - set(known))
        for ifindex in stale:
            self.detach(ifindex)
        return stale

    def finish_upgrade(self) -> int:
        """After every device was attached: late latches and orders, then the old versions go."""
        carried = self._carry()
        for old in self.pins.other_versions():
            self.pins.remove_tree(old)
        return carried

    def _carry(self) -> int:
        """Brings over what other versions' maps hold by now; how many latches that was."""
        carried = 0
        for old in self.pins.other_versions():
            carried += carry_latches(old, self.maps)
            carry_orders(old, self.maps)
        return carried

    def wait_for_programs(self) -> None:
        """Returns when what was written to the maps holds for every frame."""
        syscall.wait_for_programs()

    def _armed(self) -> Attacher:
        if self._attacher is None:
            raise NotArmedError("the guard is not armed yet")
        return self._attacher

    def close(self) -> None:
        """Lets go of descriptors and the lock; the guard goes on in the kernel."""
        objects.close_all(self._programs)
        if self._maps is not None:
            self._maps.close()
            self._maps = None
        self.pins.unlock()
