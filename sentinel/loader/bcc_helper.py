# SPDX-License-Identifier: Apache-2.0
"""Compiles the C sources by BCC, in a process of its own.

Run by the system's Python, which knows the distribution's BCC and nothing of this
package; what the compiler took of memory goes with the process. The argument is
the pid of who waits for it, the request a line of JSON on stdin, the answer JSON on
stdout: the shapes of the maps, the programs' instructions, and the files that it
took to make them. Nothing is loaded or pinned. What goes wrong is said on stderr;
exit status 3 means that there is no BCC.
"""

from __future__ import annotations

import base64
import contextlib
import ctypes
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

NO_BCC = 3
_PR_SET_PDEATHSIG = 1
_SHAPE = ("map_type", "key_size", "value_size", "max_entries", "map_flags")


def main() -> int:
    """Serve the one request."""
    # Nobody waits for it any more once its starter is gone, which may be already.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(sys.argv[1]):
        return 1
    answer = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)
    try:
        from bcc import BPF  # type: ignore[import-not-found]  # noqa: PLC0415
        from bcc.libbcc import lib  # type: ignore[import-not-found]  # noqa: PLC0415
    except ImportError as missing:
        print(missing, file=sys.stderr)
        return NO_BCC
    request = json.load(sys.stdin)
    maps = BPF(text=request["maps_text"], cflags=[*request["flags"], *request["maps_flags"]])
    shapes = {
        name: _shape(lib.bpf_table_fd(maps.module, name.encode())) for name in request["maps"]
    }
    programs = {}
    for file, names in request["files"].items():
        text = Path(file).read_text(encoding="utf-8")
        flags = [*request["flags"], *request["programs_flags"]]
        module = BPF(text=text, cflags=flags)
        for name in names:
            programs[name] = {
                "instructions": base64.b64encode(module.dump_func(name.encode())).decode(),
                "license": lib.bpf_module_license(module.module).decode(),
                "kernel_version": lib.bpf_module_kern_version(module.module),
            }
    with answer:
        json.dump({"maps": shapes, "programs": programs, "tools": _mapped_files()}, answer)
    return 0


def _shape(map_fd: int) -> dict[str, int]:
    """Of the map that BCC made; it is gone with this process."""
    lines = Path(f"/proc/self/fdinfo/{map_fd}").read_text(encoding="ascii").splitlines()
    said = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    return {name: int(said[name], 0) for name in _SHAPE}


def _mapped_files() -> list[dict[str, Any]]:
    """Compiler, BCC, interpreter: whatever of code this process runs.

    What was replaced meanwhile has no size that a file could have.
    """
    lines = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
    words = [line.split(None, 5) for line in lines]
    paths = sorted({word[5] for word in words if len(word) == 6 and "x" in word[1]})
    found = []
    for path in paths:
        if not path.startswith("/"):
            continue
        size_bytes, modified_ns = -1, 0
        with contextlib.suppress(OSError):
            status = Path(path).stat()
            size_bytes, modified_ns = status.st_size, status.st_mtime_ns
        found.append({"path": path, "size_bytes": size_bytes, "modified_ns": modified_ns})
    return found


if __name__ == "__main__":
    sys.exit(main())
