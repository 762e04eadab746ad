/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Presented: what can be told, and said, of a descriptor that a client presents without asking
 * anything that a strange file could answer late. The broker gives nothing else than memory to the
 * keeper, which checks again.
 *
 * Whether it is a buffer is store.h's to find, whether it can be registered memory.h's.
 */
#ifndef DAEMON_PRESENTED_H
#define DAEMON_PRESENTED_H

#include "common/fault.h"

/** presented_as_memory() - to be registered. Return: 0; -EOPNOTSUPP with @fault: no memory file. */
int presented_as_memory(int fd, struct fault *fault);

/** presented_as_buffer() - to be looked up. Return: 0; -ENXIO with @fault: no memory file. */
int presented_as_buffer(int fd, struct fault *fault);

/** presented_no_buffer() - say that it is none. Return: -ENXIO. */
int presented_no_buffer(struct fault *fault);

#endif
