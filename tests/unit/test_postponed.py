# SPDX-License-Identifier: Apache-2.0
"""A module that is executed when it is asked for a name, and OpenSSL that nobody asks for."""

from __future__ import annotations

import hashlib
import hmac
import os
import subprocess
import sys
from pathlib import Path

from sentinel.postponed import postpone

ROOT = Path(__file__).parents[2]


def printed(code: str, path: Path = ROOT) -> list[str]:
    """What a process of its own prints."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{path}"},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()


def test_a_module_is_executed_when_asked_for_a_name_and_once(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text("print('executed')\nname = 7\n")
    code = """
from sentinel.postponed import postpone
postpone("slow")()
import slow
import slow as again
slow.__spec__, hasattr(slow, "__path__")
print("before")
from slow import name
print(name, again.name, hasattr(again, "other"))
"""
    assert printed(code, tmp_path) == ["before", "executed", "7", "7", "False"]


def test_a_part_is_imported_without_its_package(tmp_path: Path) -> None:
    package = tmp_path / "whole"
    package.mkdir()
    (package / "__init__.py").write_text("print('whole')\nfrom whole import other\nown = 1\n")
    (package / "part.py").write_text("from whole import other\nprint('part')\n")
    (package / "other.py").write_text("print('other')\n")
    code = """
from sentinel.postponed import postpone
ready = postpone("whole")
from whole import part
ready()
import whole
from whole import part as same
print(same is part, whole.part is part)
print(whole.own)
"""
    expected = ["other", "part", "True", "True", "whole", "1"]
    assert printed(code, tmp_path) == expected


def test_what_is_there_or_nowhere_is_left_alone() -> None:
    postpone("subprocess")()
    assert sys.modules["subprocess"] is subprocess
    postpone("no_such_module_anywhere")()
    assert "no_such_module_anywhere" not in sys.modules


AS_THE_COMMAND_DOES = """
import sys
from sentinel.without_openssl import leave_out_openssl
leave_out_openssl()
import sentinel.daemon
"""


def test_the_daemon_s_imports_load_no_openssl() -> None:
    code = f"{AS_THE_COMMAND_DOES}print('libcrypto' in open('/proc/self/maps').read())"
    assert printed(code) == ["False"]
    assert printed(code.replace("leave_out_openssl()\n", "")) == ["True"]


def test_digests_are_the_same_without_it() -> None:
    code = f"""{AS_THE_COMMAND_DOES}
import hashlib, hmac
print(hashlib.sha256(b"text").hexdigest(), hmac.new(b"key", b"text", hashlib.sha256).hexdigest())
print(hmac.digest(b"key", b"text", "sha256").hex(), hmac.compare_digest(b"a", b"a"))
"""
    signed = hmac.new(b"key", b"text", hashlib.sha256).hexdigest()
    assert printed(code) == [hashlib.sha256(b"text").hexdigest(), signed, signed, "True"]


def test_who_wants_tls_gets_it() -> None:
    code = f"""{AS_THE_COMMAND_DOES}
import ssl
print(ssl.create_default_context().verify_mode == ssl.CERT_REQUIRED)
"""
    assert printed(code) == ["True"]
