/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef TAP_BCC_STDDEF_H
#define TAP_BCC_STDDEF_H

#define offsetof(type, member) __builtin_offsetof(type, member)

#endif
