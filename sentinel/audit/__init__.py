# SPDX-License-Identifier: Apache-2.0
"""What is wrong with the host's own network, from its configuration and from evidence. Pure."""
