// SPDX-License-Identifier: GPL-2.0-only
/* The product's programs with no bound on answers, so that a round tells every one. */
#include <linux/types.h>

#include "../bpf/abi_kern_user.h"

#define TAP_MAX_ANSWERS (1 << 30)

#include "../bpf/uplink.bpf.c"
