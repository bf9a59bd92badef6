# SPDX-License-Identifier: Apache-2.0
"""`tapsentinel disarm`: everything is out of the kernel, and only when no daemon runs."""

from __future__ import annotations

import pytest

from tests.harness.daemon import Sentinel
from tests.harness.hypervisor import Lab


@pytest.mark.parametrize("attach", ["auto", "clsact"])
def test_disarm_leaves_nothing(attach: str) -> None:
    with Lab() as lab:
        lab.add_tap("tap0")
        with Sentinel(lab.hypervisor.netns, {"kernel": {"attach": attach}}) as sentinel:
            sentinel.start(["tap0"])
            refused = sentinel.cli("disarm")
            assert refused.returncode == 1
            assert "stop it first" in refused.stderr
            assert sentinel.port("tap0")["state"] == "watched"

            sentinel.stop()
            assert sentinel.pins.is_dir()
            done = sentinel.cli("disarm")
            assert (done.returncode, done.stderr) == (0, "")
            assert "2 devices" in done.stdout
            assert not sentinel.pins.exists()
            qdiscs = lab.hypervisor.netns.run(["tc", "qdisc", "show"]).stdout
            assert "clsact" not in qdiscs

            again = sentinel.cli("disarm")
            assert again.returncode == 3
            assert "nothing to disarm" in again.stderr
