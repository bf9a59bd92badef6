/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * In the place of libbpf's header of this name: BCC has the helpers in its own.
 * It links no function to another, so that every one is inlined, and finds
 * programs by themselves.
 */
#ifndef TAP_BCC_BPF_HELPERS_H
#define TAP_BCC_BPF_HELPERS_H

#undef __always_inline
#define __always_inline inline __attribute__((always_inline))
#define __noinline __always_inline
#define SEC(name)

#endif
