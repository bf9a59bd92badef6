/* SPDX-License-Identifier: GPL-2.0-only */
/* Nothing: for BCC's packet rewriter, which nobody uses here. */
