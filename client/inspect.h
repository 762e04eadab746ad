/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Inspect: whether a descriptor that belongs to a buffer is what the daemon says it is, before it is
 * mapped or kept. A contradiction ends the connection (call_violation()).
 */
#ifndef CLIENT_INSPECT_H
#define CLIENT_INSPECT_H

#include "client/buffer.h"

/**
 * inspect_memory() - the memory of a buffer that is one memfd, or of registered memory
 * @is_new: made for this grant, so that nobody can have taken pages from it
 * Return: 0; -ENXIO: somebody did; -EPROTO; or a negative errno of fstat(2).
 */
int inspect_memory(dmabufd *d, const dmabufd_buffer *buffer, bool is_new, struct fault *fault);

/**
 * inspect_chunk() - the same for one of several memfds
 * @left: bytes of the buffer that are not there yet, which it must not exceed
 * @ret_size: its size, at least a page
 */
int inspect_chunk(dmabufd *d, const dmabufd_buffer *buffer, int fd, uint64_t left, bool is_new,
                  uint64_t *ret_size, struct fault *fault);

/** inspect_token() - the descriptor of a buffer of several memfds. Return: as above. */
int inspect_token(dmabufd *d, const dmabufd_buffer *buffer, struct fault *fault);

#endif
