/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Span table: a scatter list in the form in which it travels, little-endian triples of 64-bit words,
 * inside a message or, when long, in a sealed memfd of exactly that size.
 */
#ifndef PROTO_SPANTABLE_H
#define PROTO_SPANTABLE_H

#include <stddef.h>
#include <stdint.h>

#include "common/dmabufd-types.h"

/** Most spans a table may have: one for each 4 KiB of 1 TiB. */
#define SPANTABLE_MAX (UINT64_C(1) << 28)

/**
 * spantable_seal() - put a scatter list in a memfd that nobody can change any more
 * @ret_fd: close-on-exec, read-only, sealed against write, shrink, grow; the caller's
 * Return: 0 or a negative errno (of memfd_create(2), write(2), fcntl(2), open(2)).
 */
int spantable_seal(const struct dmabufd_span *list, size_t count, int *ret_fd);

/**
 * spantable_open() - read a table out of a memfd that came from elsewhere
 * @fd: stays the caller's
 * @count: spans it must have
 * @size: bytes of the buffer it must cover exactly
 * @ret_list: malloc'ed copy, the caller's
 *
 * Trusts nothing: seals, size and every rule of a scatter list are checked.
 *
 * Return: 0; -EBADMSG if it is not such a table; -ENOMEM; or a negative errno of pread(2).
 */
int spantable_open(int fd, size_t count, uint64_t size, struct dmabufd_span **ret_list);

/**
 * spantable_decode() - the same for a table inside a message
 * Return: 0; -EBADMSG; -ENOMEM.
 */
int spantable_decode(const void *data, size_t length, size_t count, uint64_t size,
                     struct dmabufd_span **ret_list);

#endif
