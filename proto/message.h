/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Message: Request and Reply to bytes and back, with hard bounds on size and on memory.
 *
 * A received message is decoded into a fixed arena, never into the heap: what does not fit in the
 * arena is malformed by definition, so hostile bytes cannot make the receiver allocate. The decoded
 * message lives in the arena and needs no free.
 */
#ifndef PROTO_MESSAGE_H
#define PROTO_MESSAGE_H

#include <stddef.h>
#include <sys/types.h>

#include "common/fault.h"
#include "proto/dmabufd.pb-c.h"
#include "proto/limits.h"
#include "proto/wire.h"

typedef Dmabufd__Proto__Request proto_request;
typedef Dmabufd__Proto__Reply proto_reply;

/** Memory for one decoded message. */
struct message_arena {
    size_t used;
    _Alignas(max_align_t) unsigned char bytes[4 * PROTO_REPLY_MAX];
};

/**
 * message_decode_request() - bytes to Request
 * @arena: reused from its beginning; the result points into it
 * Return: the message, or NULL if it does not decode, has fields unknown to this version at any
 * level, has no id or no body.
 */
proto_request *message_decode_request(struct message_arena *arena, const void *data, size_t size);

/**
 * message_decode_reply() - bytes to Reply; as message_decode_request(), but an event has the id 0 and
 * may have fields that this version does not know
 */
proto_reply *message_decode_reply(struct message_arena *arena, const void *data, size_t size);

/**
 * message_encode_request() - Request to bytes
 * @out: PROTO_REQUEST_MAX bytes
 * Return: length, or -EMSGSIZE.
 */
ssize_t message_encode_request(const proto_request *request, void *out);

/** message_encode_reply() - Reply to bytes; @out has PROTO_REPLY_MAX bytes. */
ssize_t message_encode_reply(const proto_reply *reply, void *out);

#endif
