/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Memfd: making the anonymous files of this project, all with the same care, and telling whether two
 * descriptors are one.
 */
#ifndef COMMON_MEMFD_H
#define COMMON_MEMFD_H

#include <stdbool.h>

/**
 * memfd_open() - a new, empty memfd: close-on-exec, sealable, mode 0600, not executable
 * @name: shows in /proc/PID/maps
 * @flags: 0, or MFD_HUGETLB with MFD_HUGE_2MB or MFD_HUGE_1GB (memfd_create(2))
 *
 * Mode 0600, because a memfd is born 0777 and whoever is passed a read-only descriptor could reopen
 * it for writing through /proc.
 *
 * Return: 0 or a negative errno of memfd_create(2) or fchmod(2).
 */
int memfd_open(const char *name, unsigned int flags, int *ret_fd);

/**
 * memfd_is_memory() - is this a file of memory, and not open by O_PATH: a memfd, or of a tmpfs or
 * hugetlbfs, which are close relatives
 *
 * Asks nothing that a strange file could answer late. Closing memory waits for nobody.
 */
bool memfd_is_memory(int fd);

/** memfd_reopen_readonly() - another open file on the same memory that cannot be written through. */
int memfd_reopen_readonly(int fd, int *ret_fd);

/**
 * memfd_same() - are @a and @b the same open file (dup()s of one another)
 *
 * By fcntl(F_DUPFD_QUERY), Linux 6.10, else kcmp(2). An inode number proves nothing: it wraps.
 *
 * Return: 1 yes, 0 no, -EOPNOTSUPP if the kernel offers neither or forbids it.
 */
int memfd_same(int a, int b);

#endif
