/* SPDX-License-Identifier: GPL-2.0-only */
/* For BCC's tables of stacks, which nobody has here. */
#define roundup_pow_of_two(number) (number)
