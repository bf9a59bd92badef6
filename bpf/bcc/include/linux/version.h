/* SPDX-License-Identifier: GPL-2.0-only */
/* BCC stamps programs with a version, which no kernel since 5.0 looks at. */
#define KERNEL_VERSION(major, minor, patch) (((major) << 16) + ((minor) << 8) + (patch))
#define LINUX_VERSION_CODE KERNEL_VERSION(5, 10, 0)
