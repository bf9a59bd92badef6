/* SPDX-License-Identifier: GPL-2.0-only */
/* Nothing: BCC has them in its own header. */
