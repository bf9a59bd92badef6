# SPDX-License-Identifier: Apache-2.0
"""Run one command under a stock kernel in qemu, on this machine's own files.

The command's output is this program's output, its exit status this program's; 124 when
time ran out, 125 when the guest did not get to run it.

Usage: python tools/vm/boot.py --lane 5.10 -- .venv/bin/python -m pytest tests/prog -q
"""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tools.vm.fetch_kernel import fetch_kernel
from tools.vm.guest import NOT_REACHED, TIMED_OUT, GuestOrder, run_in_guest
from tools.vm.lanes import LANES, LaneError, lane_named


def main() -> int:
    arguments = _parser().parse_args()
    # So that the guest and the scratch folder go the ordinary way.
    signal.signal(signal.SIGTERM, _stop)
    order = GuestOrder(
        command=arguments.command,
        environment=dict(_pair(text) for text in arguments.env),
        timeout_s=arguments.timeout,
        memory_mb=arguments.memory,
        cpus=arguments.cpus,
        keep=arguments.keep,
        fast_files=arguments.fast_files,
        nic_pairs=arguments.nic_pairs,
        envelope_nic_pairs=arguments.envelope_nic_pairs,
    )
    try:
        kernel = fetch_kernel(lane_named(arguments.lane))
        run = run_in_guest(kernel, order, sys.stdout.buffer)
    except LaneError as error:
        print(error, file=sys.stderr)
        return NOT_REACHED
    if arguments.console or run.status in (TIMED_OUT, NOT_REACHED):
        print(f"console of {kernel.release}:\n{run.console_tail}", file=sys.stderr)
    if run.status == TIMED_OUT:
        print(f"{kernel.release}: stopped after {order.timeout_s:.0f} s", file=sys.stderr)
    elif run.booted_s is None:
        print(f"{kernel.release}: the guest did not get to run the command", file=sys.stderr)
    else:
        print(
            f"{kernel.release}: up in {run.booted_s:.1f} s, {run.elapsed_s:.1f} s in all, "
            f"exit status {run.status}",
            file=sys.stderr,
        )
    return run.status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="run one command under a stock kernel in qemu, on this machine's files"
    )
    parser.add_argument("--lane", required=True, choices=list(LANES))
    parser.add_argument("--timeout", type=float, default=1200.0, metavar="SECONDS")
    parser.add_argument("--memory", type=int, default=2048, metavar="MB")
    parser.add_argument("--cpus", type=int, default=2)
    parser.add_argument(
        "--nic-pairs", type=int, default=0, metavar="NUMBER", help="NICs wired back to back"
    )
    parser.add_argument(
        "--envelope-nic-pairs", type=int, default=0, metavar="NUMBER", help="that take larger ones"
    )
    parser.add_argument("--env", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument(
        "--keep", type=Path, metavar="FOLDER", help="receives what is put in /run/lane/keep"
    )
    parser.add_argument(
        "--fast-files", type=Path, metavar="IMAGE", help="made by fast_files.py beforehand"
    )
    parser.add_argument("--console", action="store_true", help="show the guest's console too")
    parser.add_argument("command", nargs="+", metavar="COMMAND")
    return parser


def _pair(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name, value


def _stop(_number: int, _frame: object) -> None:
    raise SystemExit(128 + signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
