# SPDX-License-Identifier: Apache-2.0
"""The lab with the real daemon in it, and the real publisher beside it."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.harness.broker import LOOPBACK, PUBLISHER, Mosquitto
from tests.harness.daemon import COMMAND, Tables, toml_text
from tests.harness.guarded import OFFENDER, Scene, guarded
from tests.harness.publisher import READERS, USER
from tests.harness.waiting import wait_until


@dataclass(frozen=True, slots=True)
class Published:
    """A scene whose events go to a broker."""

    scene: Scene
    publisher: subprocess.Popen[bytes]


@contextlib.contextmanager
def published(
    broker: Mosquitto, tables: Tables, *, host: str = PUBLISHER, taps: Sequence[str] = (OFFENDER,)
) -> Iterator[Published]:
    """A host called `host`, once its publisher is connected."""
    certificate, key = broker.certificate, broker.key
    if host != PUBLISHER:
        certificate, key = broker.authority.issue(host)
    state = broker.directory / f"publisher-{host}"
    state.mkdir()
    shutil.chown(state, USER)
    mqtt = {
        "enabled": True,
        "user": USER,
        "state_dir": str(state),
        "reconnect_max": "1s",
        **reached(broker, certificate, key),
    }
    whole: Tables = {
        "fuse": {"max_quarantined": "100%"},
        "control": {"readers": READERS},
        "events": {"host": host},
        "mqtt": mqtt,
        **tables,
    }
    with guarded(whole, taps=taps) as scene:
        scene.sentinel.directory.chmod(0o755)
        log_file = broker.directory / f"publisher-{host}.log"
        with log_file.open("ab") as log:
            words = [str(COMMAND), "mqtt", "--config", str(scene.sentinel.config)]
            publisher = subprocess.Popen(words, stdout=log, stderr=log)
        try:
            wait_until(
                lambda: scene.sentinel.json("status")["mqtt"].get("state") == "connected",
                30,
                "the publisher to be connected",
                0.1,
            )
            yield Published(scene, publisher)
        except BaseException as error:
            error.add_note(f"the log of {host}'s publisher:\n{log_file.read_text()[-4000:]}")
            raise
        finally:
            publisher.kill()
            publisher.wait()


def reached(broker: Mosquitto, certificate: Path, key: Path) -> dict[str, str | int]:
    """How somebody with a certificate reaches a broker, for [mqtt]."""
    return {
        "host": LOOPBACK,
        "port": broker.port,
        "ca_file": str(broker.authority.certificate),
        "cert_file": str(certificate),
        "key_file": str(key),
    }


def desk(broker: Mosquitto, certificate: Path, key: Path, file: Path) -> Path:
    """The configuration of somebody who only gives orders."""
    file.write_text(toml_text({"mqtt": reached(broker, certificate, key)}))
    return file
