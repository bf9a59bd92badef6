# SPDX-License-Identifier: Apache-2.0
"""Compiles and loads the C sources by BCC, in a process of its own.

Run by the system's Python, which knows the distribution's BCC and nothing of this
package; what the compiler took of memory goes with the process. The request is a
line of JSON on stdin, the answer the programs' descriptors through the socket
whose descriptor is the argument, after their names as JSON. What goes wrong is
said on stderr; exit status 3 means that there is no BCC.
"""

from __future__ import annotations

import json
import socket
import sys
from pathlib import Path

NO_BCC = 3


def main() -> int:
    """Serve the one request."""
    try:
        from bcc import BPF  # type: ignore[import-not-found]  # noqa: PLC0415
        from bcc.libbcc import lib  # type: ignore[import-not-found]  # noqa: PLC0415
    except ImportError as missing:
        print(missing, file=sys.stderr)
        return NO_BCC
    request = json.load(sys.stdin)
    flags = request["flags"]
    maps = BPF(text=request["maps_text"], cflags=[*flags, *request["maps_flags"]])
    for name in request["maps"]:
        flags.append(f"-DTAP_FD_{name}={lib.bpf_table_fd(maps.module, name.encode())}")
    programs = {}
    modules = []
    for file, names in request["files"].items():
        module = BPF(text=Path(file).read_text(encoding="utf-8"), cflags=flags)
        modules.append(module)
        for name in names:
            programs[name] = module.load_func(name, BPF.SCHED_CLS).fd
    with socket.socket(fileno=int(sys.argv[1])) as answer:
        socket.send_fds(answer, [json.dumps(list(programs)).encode()], list(programs.values()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
