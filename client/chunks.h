/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Chunks: the memory of a buffer that was assembled from several memfds. They are fetched a few at a
 * time, mapped one behind the other in the buffer's one place, and closed: what such a buffer keeps is
 * its token.
 */
#ifndef CLIENT_CHUNKS_H
#define CLIENT_CHUNKS_H

#include "client/buffer.h"

/**
 * chunks_map() - fetch and map all of them
 * @buffer: held, with all that is known of it but its place
 * @range: its place, nothing mapped there; taken back on failure (arena_abandon())
 * @is_new: as for inspect_memory()
 *
 * Return: 0; -EMFILE; -ENOMEM; -ENXIO; -ENOTCONN; -EPROTO; or what the daemon refuses with.
 */
int chunks_map(dmabufd *d, const dmabufd_buffer *buffer, const struct arena_range *range,
               bool is_new, struct fault *fault);

#endif
