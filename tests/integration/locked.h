/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Locked: a process that holds the lock of a memfd for as long as it likes, as any holder can: it
 * writes to the file from a page that does not come. What else needs the lock, fallocate(2) or
 * lseek(2), hangs until then and cannot be killed.
 *
 * The page is withheld with a userfaultfd. Where that takes privilege, /dev/userfaultfd is opened
 * before it is given up; a FUSE file would do for everybody.
 */
#ifndef TESTS_LOCKED_H
#define TESTS_LOCKED_H

#include <stdbool.h>

/** locked_prepare() - in the test process, before spawn_as(). Return: false: not possible here. */
bool locked_prepare(void);

/** locked_begin() - in the child: lock @fd until the process ends. Return: 0 or -1, errno set. */
int locked_begin(int fd);

#endif
