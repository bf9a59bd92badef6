/* SPDX-License-Identifier: GPL-2.0-only */
/* Nothing: BCC brings its own and includes it first. */
