# SPDX-License-Identifier: Apache-2.0
"""Certificates for one test: an authority, and what it signs."""

from __future__ import annotations

import subprocess
from pathlib import Path


class Authority:
    """An authority in a directory; made by openssl, of short life and small keys."""

    def __init__(self, directory: Path, name: str = "ca") -> None:
        self._directory = directory
        self.certificate = directory / f"{name}.pem"
        self._key = directory / f"{name}.key"
        self._openssl(
            *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-subj", f"/CN={name}", "-days", "2"),
            *("-keyout", str(self._key), "-out", str(self.certificate)),
        )

    def issue(self, name: str, host: str = "", days: int = 2) -> tuple[Path, Path]:
        """Certificate and key for a common name, and a host (an address) if it is a server."""
        key, request, certificate = (
            self._directory / f"{name}.{suffix}" for suffix in ("key", "csr", "pem")
        )
        self._openssl(
            *("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-subj", f"/CN={name}", "-keyout", str(key), "-out", str(request)),
        )
        extensions = self._directory / f"{name}.ext"
        extensions.write_text(
            f"subjectAltName=IP:{host}\n" if host else "basicConstraints=CA:FALSE\n"
        )
        self._openssl(
            *("x509", "-req", "-in", str(request), "-CA", str(self.certificate)),
            *("-CAkey", str(self._key), "-CAcreateserial", "-days", str(days)),
            *("-extfile", str(extensions), "-out", str(certificate)),
        )
        for file in (key, certificate):
            file.chmod(0o644)
        return certificate, key

    @staticmethod
    def _openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], check=True, capture_output=True)
