/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Own: memory that a client makes itself, as dmabufd_register() wants it. */
#ifndef TESTS_OWN_H
#define TESTS_OWN_H

#include <stdint.h>

/**
 * own_memory() - a memfd that is sealed against shrinking and written to everywhere
 * @flags: of memfd_create(2), more than MFD_CLOEXEC and MFD_ALLOW_SEALING
 * @byte: what is written
 * @ret: receives where it is mapped; NULL: it is not mapped any more
 * Return: the descriptor; -1.
 */
int own_memory(uint64_t size, unsigned int flags, int byte, unsigned char **ret);

#endif
