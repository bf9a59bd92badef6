# SPDX-License-Identifier: Apache-2.0
"""`make story-2`: a guest under load that stops reading its tap, and what is said of its lease.

Real parts: ISC dhcpd behind the switch, dhclient in a guest behind a real tap, the
real daemon. As root; about half a minute. Exit status 1 if the verdict does not come.
"""

from __future__ import annotations

import sys
import time

from tests.harness.dhcp_clients import Dhclient
from tests.harness.dhcp_scene import SHORT, DhcpScene, dhcp_scene
from tests.harness.dhcp_servers import IscDhcpd
from tests.harness.guest_traffic import Load
from tests.harness.waiting import wait_until

PORT = "tap3f2a9c1e-77"
LONGEST_S = 60


def show(scene: DhcpScene, *words: str) -> None:
    """A command as an operator types it, and what it prints."""
    done = scene.sentinel.cli(*words)
    print(f"$ tapsentinel {' '.join(words)}", done.stdout + done.stderr, sep="\n", flush=True)


def main() -> int:
    """Play it."""
    with dhcp_scene([PORT]) as scene:
        scene.serve(IscDhcpd, SHORT)
        client = scene.run(Dhclient(scene.guest(PORT).netns))
        guest, outside = scene.guest(PORT), scene.lab.outside
        guest.address = client.addresses()[0]
        guest.netns.ip(
            f"neighbour replace {outside.address} lladdr {outside.mac} "
            f"dev {guest.device} nud permanent"
        )
        with Load(outside, guest):
            client.wait_for_renewals(1, 20)
            lease = scene.wait_for_lease(PORT, state="bound")
            soonest_ns = (lease["acked_wall_ns"] + lease["t1_wall_ns"]) // 2
            wait_until(lambda: time.time_ns() > soonest_ns, 10, "the renewal to come near")
            guest.stop_reading()
            print(f"# {PORT}'s guest reads its tap no more, under load\n")
            wait_until(lambda: "lease_lost" in scene.causes(PORT), LONGEST_S, "the verdict")
        show(scene, "dhcp")
        show(scene, "dhcp", PORT)
        show(scene, "incidents", "--port", PORT, "--limit", "1", "-v")
    return 0


if __name__ == "__main__":
    sys.exit(main())
