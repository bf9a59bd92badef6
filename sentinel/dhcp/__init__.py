# SPDX-License-Identifier: Apache-2.0
"""What really happened to a lease: DHCP messages read, followed and explained."""
