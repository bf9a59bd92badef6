# SPDX-License-Identifier: Apache-2.0
"""What kernel records and counters mean."""
