/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the readers find behind an IP header, packed into one number: what a
 * verifier has to follow is then one value and not as many as there are members.
 */
#ifndef TAP_FOUND_KERN_H
#define TAP_FOUND_KERN_H

#include <linux/types.h>
#include <stdbool.h>
#include <bpf/bpf_helpers.h>

#include "abi_kern_user.h"

#define FOUND_TYPE 0xff /* enum tap_message_type */
#define FOUND_SERVER 0x100 /* the message is one that only a server sends */
#define FOUND_QUIET 0x200 /* housekeeping: see clock_kern.h */
#define FOUND_OFFSET_SHIFT 16 /* from here on: where the message begins, from skb->data */
#define FOUND_NOTHING TAP_MESSAGE_NONE

static __always_inline __u32 found_type(__u32 found)
{
	return found & FOUND_TYPE;
}

static __always_inline bool found_message(__u32 found)
{
	return found_type(found) != TAP_MESSAGE_NONE;
}

static __always_inline __u32 found_offset(__u32 found)
{
	return found >> FOUND_OFFSET_SHIFT;
}

#endif
