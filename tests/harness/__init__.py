# SPDX-License-Identifier: Apache-2.0
"""The lab: a hypervisor, a switch that err-disables, guests behind real taps.

Everything lives in network namespaces and in processes of its own, and is gone
when the context manager that made it ends. `Lab` in hypervisor.py is the way in.
"""
