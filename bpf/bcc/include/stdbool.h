/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef TAP_BCC_STDBOOL_H
#define TAP_BCC_STDBOOL_H

#define bool _Bool
#define true 1
#define false 0

#endif
