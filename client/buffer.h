/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Buffer: one that this connection holds, and its unwinding. The calls are in dmabufd.h. */
#ifndef CLIENT_BUFFER_H
#define CLIENT_BUFFER_H

#include "client/connection.h"

struct dmabufd_buffer {
    dmabufd *connection;
    const uint64_t *table; /* for translation by offset */
    void *data;
    uint64_t size;
    uint64_t page_size;
    uint64_t id;
    struct dmabufd_span *spans;
    size_t span_count;
    enum dmabufd_address_mode mode;
    enum dmabufd_pin pin;
    enum dmabufd_access access;
    uint64_t nodes;       /* as dmabufd_buffer_nodes() tells */
    uint32_t chunk_count; /* 0: one memfd, which fd is; else fd is a token */
    int fd;
    uint64_t start;  /* of registered memory in its file, bytes */
    bool registered; /* the program made the memory */
    struct arena_range range;
    LIST_ENTRY(dmabufd_buffer) entry; /* dmabufd::buffers or told */
};

/**
 * buffer_adopt() - make a buffer of a grant, or give the grant up
 * @reply: of the kind BUFFER; its descriptors are gone when this returns
 * @fd: the caller's descriptor of a looked-up buffer or of registered memory, which becomes the
 *      buffer's on success; -1: it comes with the grant
 * @start: of registered memory in its file, else NULL
 * @is_new: nobody else can have done anything to it yet
 * Return: 0; -EMFILE; -ENOMEM; -ENXIO; -ENOTCONN; -EPROTO.
 */
int buffer_adopt(dmabufd *d, struct reply *reply, int *fd, const uint64_t *start, bool is_new,
                 dmabufd_buffer **ret, struct fault *fault);

/** buffer_drop_all() - forget every buffer of a connection that is about to end; tells nobody. */
void buffer_drop_all(dmabufd *d);

/** buffer_revoke_all() - none translates any more. Called with the lock of the connection held. */
void buffer_revoke_all(dmabufd *d);

#endif
