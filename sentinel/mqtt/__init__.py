# SPDX-License-Identifier: Apache-2.0
"""The publisher: reads the journal through the control socket and tells an MQTT broker."""
