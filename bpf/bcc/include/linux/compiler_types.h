/* SPDX-License-Identifier: GPL-2.0-only */
/* What headers of a source tree ask for, and installed ones do without. */
#ifndef TAP_BCC_COMPILER_TYPES_H
#define TAP_BCC_COMPILER_TYPES_H

#define __user
#define __force
#define __attribute_const__ __attribute__((__const__))

#endif
