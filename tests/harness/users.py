# SPDX-License-Identifier: Apache-2.0
"""Doing something as another user, in a process of its own."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from typing import Any

STRANGER_UID = 54321


def as_user(job: Callable[[], object], uid: int, gid: int, groups: Sequence[int] = ()) -> Any:
    """What a job returns, by way of JSON, when a process of that user runs it.

    The job runs in a fork, so that whatever it needs is imported already: the
    user may have no right to read the checkout. Takes root; raises AssertionError
    when the job fails.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.setgroups(groups)
            os.setgid(gid)
            os.setuid(uid)
            with os.fdopen(writing, "wb") as pipe:
                pipe.write(json.dumps(job()).encode())
            code = 0
        finally:
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status != 0:
        raise AssertionError(f"the job as uid {uid} ended with {status}")
    return json.loads(said)
