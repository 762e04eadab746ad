/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Samples: one message of each kind of the protocol with every field set, the longest that the
 * project makes where lengths vary. For tests, and as seeds for fuzzing.
 */
#ifndef UNIT_SAMPLES_H
#define UNIT_SAMPLES_H

#include <stddef.h>

#include "proto/message.h"

enum {
    SAMPLE_HELLO,
    SAMPLE_ALLOCATE,
    SAMPLE_FREE,
    SAMPLE_LOOKUP,
    SAMPLE_LIST_REQUEST,
    SAMPLE_STATUS_REQUEST,
    SAMPLE_SHARE_REQUEST,
    SAMPLE_PUBLISH_REQUEST,
    SAMPLE_OPEN_REQUEST,
    SAMPLE_NAMES_REQUEST,
    SAMPLE_UNPUBLISH_REQUEST,
    SAMPLE_CHUNKS_REQUEST,
    SAMPLE_POOL_REQUEST,
    SAMPLE_POOL_RESIZE_REQUEST,
    SAMPLE_POOL_MAP_REQUEST,
    SAMPLE_REQUESTS
};

enum {
    SAMPLE_ERROR,
    SAMPLE_HELLO_REPLY,
    SAMPLE_BUFFER,
    SAMPLE_FREE_REPLY,
    SAMPLE_LIST,
    SAMPLE_STATUS,
    SAMPLE_SHARE,
    SAMPLE_PUBLISH,
    SAMPLE_NAMES,
    SAMPLE_UNPUBLISH,
    SAMPLE_CHUNKS,
    SAMPLE_POOL,
    SAMPLE_POOL_MAP,
    SAMPLE_EVENT,
    SAMPLE_REPLIES
};

/** sample_request() - static; valid until the next call. */
const proto_request *sample_request(size_t which);

/** sample_reply() - static; valid until the next call. */
const proto_reply *sample_reply(size_t which);

#endif
