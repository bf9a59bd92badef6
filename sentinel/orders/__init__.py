# SPDX-License-Identifier: Apache-2.0
"""Orders that came over MQTT: who says what, whether they may, and whether it is said again."""
