# SPDX-License-Identifier: Apache-2.0
"""tapsentinel: sees and stops, in the kernel, what a guest must not send."""

__version__ = "0.1.0"
