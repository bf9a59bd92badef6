# SPDX-License-Identifier: Apache-2.0
"""The way of a frame from a tap to the wire: devices, tags and MTUs. Pure."""
