/* SPDX-License-Identifier: GPL-2.0-only */
/* For BCC's ring buffers by the page, which nobody has here. */
#define PAGE_SIZE 4096
