/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * BCC wants to stand in a kernel's source tree. This is one with just what BCC
 * itself asks for; all else that the programs include is the kernel's interface
 * to user space, which lies elsewhere (sentinel/loader/bcc.py).
 */
#ifndef TAP_BCC_KCONFIG_H
#define TAP_BCC_KCONFIG_H

#undef __KERNEL__
#define __EXPORTED_HEADERS__
#define CONFIG_BPF_SYSCALL 1

#include <linux/types.h>

typedef __s8 s8;
typedef __u8 u8;
typedef __s16 s16;
typedef __u16 u16;
typedef __s32 s32;
typedef __u32 u32;
typedef __s64 s64;
typedef __u64 u64;
typedef __SIZE_TYPE__ size_t;
typedef __UINTPTR_TYPE__ uintptr_t;

#include <stdbool.h>

#endif
