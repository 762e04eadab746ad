/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Ready: the daemon's pool as a test waits for it. */
#ifndef TESTS_READY_H
#define TESTS_READY_H

#include <dmabufd.h>

/** ready_look() - the set of pages of 2 MiB that has a target, else the first one. Fails without. */
struct dmabufd_pool_set ready_look(dmabufd *d);

/** ready_await() - until it has what it is to have, and the daemon has nothing left to do. */
void ready_await(dmabufd *d);

/** ready_check() - the buffer is zero; write to all of it, read it back, and translate each span. Return:
 *  0; 1 after a complaint, as CHECK() does. */
int ready_check(dmabufd_buffer *buffer);

#endif
