# SPDX-License-Identifier: Apache-2.0
"""Takes a changed configuration while the guard stands: all of it, or nothing of it.

Asked by SIGHUP or by an order. What it means is thought in `config_change` and in the
parts that take it; here is only the order in which they do.
"""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sentinel.config import Config
from sentinel.config_change import between, config_changes, need_restart
from sentinel.config_file import read_config_file
from sentinel.control_peer import group_gid, user_uid
from sentinel.effect import Log
from sentinel.errors import ConfigError, RefusedError
from sentinel.event_bodies import ConfigChange, members
from sentinel.event_config import Asker, config_loaded, config_refused
from sentinel.inventory import Appeared, Change, Changed, Gone
from sentinel.keyfile import fleet_key
from sentinel.notify import notify, notify_reloading
from sentinel.protocol import Peer
from sentinel.terminal import harmless

if TYPE_CHECKING:
    from sentinel.daemon import Daemon

ATTACH_S: Final = 90.0
"""How long an answer waits for newly watched devices; they are attached all the same."""
SIGNAL: Final = "SIGHUP"
THE_DEFAULTS: Final = "the defaults"
"""What is told in place of a file, where there is none."""

_log = logging.getLogger("tapsentinel")


class Reloads:
    """Reads a daemon's configuration anew, one time after the other."""

    def __init__(self, daemon: Daemon, file: Path) -> None:
        self._daemon = daemon
        self._file = file
        self._turn = asyncio.Lock()
        self._is_signalled = False

    def hang_up(self) -> None:
        """SIGHUP. Those that come before the file is read for the first are one."""
        if not self._is_signalled:
            self._is_signalled = True
            self._daemon.spawn(self._signalled())

    async def _signalled(self) -> None:
        try:
            await self._reload(Asker(SIGNAL))
        except ConfigError as wrong:
            _log.error("%s; the configuration of before holds", harmless(str(wrong)))

    async def order(self, peer: Peer) -> dict[str, Any]:
        """What changed. Raises RefusedError if the file cannot be taken: nothing changed."""
        try:
            return await self._reload(Asker("order", peer.uid, peer.pid))
        except ConfigError as wrong:
            raise RefusedError(f"{wrong}; the configuration of before holds") from None

    async def _reload(self, asker: Asker) -> dict[str, Any]:
        async with self._turn:
            ready = ""
            if asker.by == SIGNAL:
                self._is_signalled = False
                # Of an order the manager has its own word, the exit code of ExecReload=, and is
                # not told of the same reload a second time.
                notify_reloading()
                ready = "READY=1\n"
            how = "a changed configuration was refused"
            try:
                config = await asyncio.to_thread(self._read)
                done = await self._take(config, asker)
                how = "the configuration was read anew"
                return done
            except ConfigError as wrong:
                self._daemon.apply([Log(config_refused(time.time_ns(), wrong, asker))])
                raise
            finally:
                guarded = len(self._daemon.attachments.attached)
                notify(f"{ready}STATUS=guarding {guarded} devices; {how}")

    def _read(self) -> Config:
        """In a thread: files and groups may be far away."""
        # A host that has never had a file goes by the defaults still.
        needs_none = self._daemon.config_file == THE_DEFAULTS and not self._file.exists()
        config = Config() if needs_none else read_config_file(self._file)
        keys = need_restart(config_changes(self._daemon.config, config))
        if keys:
            raise ConfigError(
                str(self._file),
                ", ".join(keys),
                "needs a restart to change (systemctl restart tapsentinel), and nothing else of "
                "the file is taken before",
            )
        return config

    async def _take(self, config: Config, asker: Asker) -> dict[str, Any]:
        daemon = self._daemon
        allowed = await asyncio.to_thread(
            lambda: (
                group_gid(config.control.group),
                group_gid(config.control.readers),
                user_uid(config.mqtt.user),
            )
        )
        private_pem = await asyncio.to_thread(fleet_key, config.mqtt.fleet, str(self._file))
        told = config_changes(daemon.config, config)
        changes = self._switch(config, told, asker, private_pem)
        daemon.control.allow(*allowed)
        try:
            async with asyncio.timeout(ATTACH_S):
                await daemon.attachments.settled()
        except TimeoutError:
            _log.warning("newly watched devices are still being attached")
        await asyncio.to_thread(daemon.guard.wait_for_programs)
        journaled = await daemon.scribe.persist([])
        return self._answer(told, changes, journaled)

    def _switch(
        self, config: Config, told: tuple[ConfigChange, ...], asker: Asker, private_pem: bytes
    ) -> list[Change]:
        """In one step of the loop: nobody sees half of a configuration."""
        daemon = self._daemon
        service_vids = frozenset(config.audit.service_vlans)
        changes = daemon.inventory.reconfigure(config.ports, config.checks.size.mtu, service_vids)
        for change in changes:
            if isinstance(change, Changed):
                daemon.attachments.change(between(change.old, change.device))
        daemon.engine.reconfigure(config)
        daemon.config = config
        if daemon.config_file == THE_DEFAULTS and self._file.exists():
            daemon.config_file = str(self._file)
        daemon.write_config()
        name = daemon.config_file
        daemon.apply([Log(config_loaded(time.time_ns(), name, config, told, asker))])
        daemon.take_changes(changes)
        daemon.scribe.reconfigure(config.events, config.journal)
        daemon.audits.reconfigure(config.audit)
        daemon.answers.carried.reconfigure(config.mqtt, private_pem)
        daemon.engine.fleet.reconfigure(config.mqtt.fleet)
        daemon.settle_newcomers()
        _log.info("%s read anew: %d keys are another", name, len(told))
        return changes

    def _answer(
        self, told: tuple[ConfigChange, ...], changes: list[Change], journaled: bool
    ) -> dict[str, Any]:
        daemon = self._daemon
        come = {one.device.ifindex for one in changes if isinstance(one, Appeared)}
        return {
            "file": daemon.config_file,
            "changes": [members(change) for change in told],
            "attached": sorted(
                one.name
                for ifindex, one in daemon.inventory.devices().items()
                if ifindex in come & daemon.attachments.attached
            ),
            "released": sorted(one.device.name for one in changes if isinstance(one, Gone)),
            "problems": [
                f"{one.name} is not guarded yet: "
                + daemon.attachments.problems.get(ifindex, "it is still being attached")
                for ifindex, one in daemon.inventory.devices().items()
                if ifindex in come - daemon.attachments.attached
            ],
            "journaled": journaled,
        }
