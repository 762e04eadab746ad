/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reply: what the daemon answered, as plain values of fixed size.
 *
 * The thread that reads the socket converts a message on behalf of the thread that waits for it, so
 * the conversion allocates nothing and cannot fail for memory: giving up a buffer must always work.
 * Every value is checked here as far as it can be without knowing the request; nothing behind this
 * file sees a protobuf message that came from outside.
 */
#ifndef CLIENT_REPLY_H
#define CLIENT_REPLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/dmabufd.h"
#include "common/fault.h"
#include "proto/limits.h"
#include "proto/message.h"
#include "proto/wire.h"

#define HELLO_PAGE_SIZES_MAX 4
/** Two sizes of huge pages, and as many nodes as Linux can be built for. */
#define REPLY_POOL_SETS_MAX 2048

/** The daemon of itself; info points to the texts. */
struct reply_hello {
    struct dmabufd_info info;
    char backend[16];
    char backend_reason[FAULT_TEXT_MAX];
    uint32_t max_in_flight;
};

/** A buffer that was granted. */
struct reply_buffer {
    uint64_t id;
    uint64_t size;
    uint64_t page_size;
    enum dmabufd_address_mode mode;
    enum dmabufd_pin pin;
    enum dmabufd_access access;
    uint64_t nodes;
    uint32_t chunk_count; /* 0, or 2 to PROTO_CHUNKS_MAX */
    uint32_t span_count;
    size_t inline_bytes; /* 0: the list is in a memfd */
    unsigned char inline_spans[PROTO_SPANS_INLINE_MAX * sizeof(struct dmabufd_span)];
};

/** One page of a list. */
struct reply_list {
    struct dmabufd_buffer_info entry[PROTO_LIST_PAGE];
    size_t count;
    uint64_t next;
};

/** One page of the list of names. */
struct reply_names {
    struct dmabufd_name_info entry[PROTO_NAMES_PAGE];
    size_t count;
    bool more;
};

/** A set of the pool; with set_count 0 there is none. */
struct reply_pool {
    uint32_t set_count; /* at most REPLY_POOL_SETS_MAX */
    uint32_t set;       /* less than that */
    struct dmabufd_pool_set info;
};

struct reply {
    Dmabufd__Proto__Reply__BodyCase kind;
    struct wire_fds fds; /* the receiver's; WIRE_FDS_NONE before */
    union {
        struct fault refusal;
        struct reply_hello hello;
        struct reply_buffer buffer;
        struct reply_list list;
        struct reply_names names;
        struct dmabufd_status status;
        struct reply_pool pool;
        struct dmabufd_pool_map pool_map;
    };
};

/**
 * reply_parse() - convert and check
 * @ret: kind and the matching member are filled in; the descriptors are not touched
 * @ret_why: on failure, what is wrong with the message
 * Return: 0; -EPROTO.
 */
int reply_parse(const proto_reply *message, struct reply *ret, const char **ret_why);

#endif
