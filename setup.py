# SPDX-License-Identifier: Apache-2.0
"""Only what pyproject.toml cannot say: the extension that cffi builds."""

from setuptools import setup

setup(cffi_modules=["sentinel/loader/build_libbpf.py:ffibuilder"])
