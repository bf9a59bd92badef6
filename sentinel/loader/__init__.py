# SPDX-License-Identifier: Apache-2.0
"""Everything that touches bpf(2): objects, pins, maps, hooks, the ring."""
