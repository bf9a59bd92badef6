# SPDX-License-Identifier: Apache-2.0
"""Every error that tapsentinel raises on purpose.

    TapsentinelError
    ├── ConfigError          a configuration that cannot be used
    ├── KernelError          bpf(2), a program, a map or a hook refused
    │   ├── AbiError         an object or a pin of another version
    │   ├── NotArmedError    no pins: nothing guards here
    │   └── PortGoneError    the device went away meanwhile
    ├── PinsBusyError        another daemon owns these pins
    ├── JournalError         SQLite, the disk, a damaged file
    ├── ControlError         the control socket
    │   ├── NoDaemonError    nobody answers
    │   └── ProtocolError    bytes that are no request or no answer
    ├── BrokerError          the MQTT broker, or what is needed to reach it
    │   └── NoAnswerError    an order through it that nobody has answered
    └── RefusedError         an order that is not carried out
        └── UntrustedError   a signed message that is not what it says, or of nobody known

A message says what happened, to which port or file, and what to do about it.
"""

from __future__ import annotations


class TapsentinelError(Exception):
    """Base of all. `str()` is one line fit for an operator."""


class ConfigError(TapsentinelError):
    """A configuration that cannot be used; names file, key and what would be right."""

    def __init__(self, file: str, key: str, problem: str) -> None:
        self.file = file
        self.key = key
        self.problem = problem
        where = f"{file}: {key}" if key else file
        super().__init__(f"{where}: {problem}")


class KernelError(TapsentinelError):
    """The kernel refused; carries the errno where there is one (else 0)."""

    def __init__(self, message: str, errno: int = 0) -> None:
        self.errno = errno
        super().__init__(message)


class AbiError(KernelError):
    """An object or a pinned map speaks another version of the contract."""


class NotArmedError(KernelError):
    """No pins where they were looked for: no guard is loaded."""


class PortGoneError(KernelError):
    """The device vanished between its discovery and the call."""


class PinsBusyError(TapsentinelError):
    """Another daemon owns these pins."""


class JournalError(TapsentinelError):
    """The journal cannot be read or written."""


class ControlError(TapsentinelError):
    """The control socket failed."""


class NoDaemonError(ControlError):
    """Nobody answers at the control socket."""


class ProtocolError(ControlError):
    """Bytes that are neither a request nor an answer."""


class BrokerError(TapsentinelError):
    """The MQTT broker cannot be reached or refuses, or a file for it cannot be read."""


class NoAnswerError(BrokerError):
    """An order to another host that nobody has answered in time."""


class RefusedError(TapsentinelError):
    """An order that is not carried out: unknown port, no right, a fuse."""


class UntrustedError(RefusedError):
    """A signed message that was altered, or that nobody signed whose key is known here."""
