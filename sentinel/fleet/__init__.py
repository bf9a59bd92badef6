# SPDX-License-Identifier: Apache-2.0
"""What one host learns of a guest, the others know."""
