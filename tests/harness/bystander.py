# SPDX-License-Identifier: Apache-2.0
"""Somebody else's program on a device: by tcx in front of all, or as a filter of clsact."""

from __future__ import annotations

import ctypes
import os
import socket

from sentinel.loader._libbpf import lib
from tests.harness import native
from tests.harness.closing import Closing
from tests.harness.namespaces import Namespace


class Bystander(Closing):
    """Attached where frames come in from a device. Raises OSError.

    By tcx, first of all; with a `priority` as a filter on the clsact qdisc that
    is there, and then it stays until qdisc or device go.
    """

    def __init__(self, netns: Namespace, device: str, priority: int = 0) -> None:
        self._bpf = ctypes.CDLL("libbpf.so.1", use_errno=True)
        self._bpf.bpf_object__open_file.restype = ctypes.c_void_p
        self._bpf.bpf_object__find_program_by_name.restype = ctypes.c_void_p
        self._link_fd = -1
        path = os.fsencode(native.bpf_object("bystander"))
        self._object = ctypes.c_void_p(self._bpf.bpf_object__open_file(path, None))
        try:
            if self._bpf.bpf_object__load(self._object) != 0:
                raise OSError(ctypes.get_errno(), "the kernel refused the bystander")
            program = self._bpf.bpf_object__find_program_by_name(self._object, b"bystander")
            program_fd = self._bpf.bpf_program__fd(ctypes.c_void_p(program))
            self._seen_fd = self._bpf.bpf_object__find_map_fd_by_name(self._object, b"seen")
            with netns.enter():
                ifindex = socket.if_nametoindex(device)
                if priority:
                    done = lib.ts_clsact_attach(ifindex, 0, program_fd, 1, priority, 0)
                else:
                    done = self._link_fd = lib.ts_tcx_link(program_fd, ifindex, 0)
            if done < 0:
                raise OSError(-done, f"no program can be put on {device}")
        except BaseException:
            self.close()
            raise

    @property
    def frames(self) -> int:
        """What it saw so far."""
        key, value = ctypes.c_uint32(0), ctypes.c_uint64()
        self._bpf.bpf_map_lookup_elem(self._seen_fd, ctypes.byref(key), ctypes.byref(value))
        return value.value

    def close(self) -> None:
        """Take it off; may be called again."""
        if self._link_fd >= 0:
            os.close(self._link_fd)
            self._link_fd = -1
        if self._object:
            self._bpf.bpf_object__close(self._object)
            self._object = ctypes.c_void_p()
