# SPDX-License-Identifier: Apache-2.0
"""How fast one host's log that has waited reaches a broker; writes it into docs/operations.md.

python -m bench.drain_log [EVENTS]
"""

from __future__ import annotations

import sys

from bench.operations import write_measured
from tests.harness.drain import drain

TRIES = 3


def main() -> None:
    """Measures, keeps the least of some tries, and writes it down."""
    events = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    best = min((drain(events) for _ in range(TRIES)), key=lambda one: one.publisher.seconds)
    ours, bare = best.publisher, best.bare
    write_measured(
        "drain_log",
        f"{events}",
        [
            f"| {events:,} events that had waited | the publisher | a bare client (paho) |",
            "| --- | ---: | ---: |",
            f"| all of them acknowledged after | {ours.per_event_us * events / 1e6:.1f} s | "
            f"{bare.per_event_us * events / 1e6:.1f} s |",
            f"| of a CPU, an event | {ours.cpu_per_event_us:.0f} µs | "
            f"{bare.cpu_per_event_us:.0f} µs |",
            f"| of a CPU, an event, the daemon | "
            f"{best.daemon_cpu_seconds / events * 1e6:.0f} µs | |",
        ],
    )


if __name__ == "__main__":
    main()
