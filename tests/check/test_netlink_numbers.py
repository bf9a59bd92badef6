# SPDX-License-Identifier: Apache-2.0
"""The numbers of rtnetlink's attributes and messages are those of the kernel's headers."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from sentinel import netlink, netlink_facts

HEADERS = ("rtnetlink", "if_link", "if_tunnel", "netlink")
PREFIXES = ("IFLA_", "RTM_", "RTMGRP_", "RTEXT_", "NLM_F_")


@pytest.mark.skipif(shutil.which("clang") is None, reason="no clang")
def test_numbers_are_the_kernel_s() -> None:
    numbers = {
        name: value
        for module in (netlink, netlink_facts)
        for name, value in vars(module).items()
        if name.startswith(PREFIXES)
    }
    assert len(numbers) > 30
    lines = ["#include <linux/if.h>", *(f"#include <linux/{name}.h>" for name in HEADERS)]
    lines += [f'_Static_assert({name} == {value}, "{name}");' for name, value in numbers.items()]
    done = subprocess.run(
        ["clang", "-x", "c", "-fsyntax-only", "-"],
        input="\n".join(lines) + "\n",
        text=True,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
