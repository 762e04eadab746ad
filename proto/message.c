/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Packing and unpacking within bounds; see message.h. */
#include "proto/message.h"

#include <errno.h>
#include <stdbool.h>

/* The vocabulary of the project and of the protocol are the same numbers. */
#define SAME(c, proto) _Static_assert((int)(c) == (int)(proto), #c)
SAME(DMABUFD_CODE_OK, DMABUFD__PROTO__ERROR_CODE__ERROR_OK);
SAME(DMABUFD_CODE_INVALID, DMABUFD__PROTO__ERROR_CODE__ERROR_INVALID);
SAME(DMABUFD_CODE_TOO_LARGE, DMABUFD__PROTO__ERROR_CODE__ERROR_TOO_LARGE);
SAME(DMABUFD_CODE_NO_MEMORY, DMABUFD__PROTO__ERROR_CODE__ERROR_NO_MEMORY);
SAME(DMABUFD_CODE_NO_HUGE_PAGES, DMABUFD__PROTO__ERROR_CODE__ERROR_NO_HUGE_PAGES);
SAME(DMABUFD_CODE_NOT_A_BUFFER, DMABUFD__PROTO__ERROR_CODE__ERROR_NOT_A_BUFFER);
SAME(DMABUFD_CODE_NOT_HELD, DMABUFD__PROTO__ERROR_CODE__ERROR_NOT_HELD);
SAME(DMABUFD_CODE_LIMIT, DMABUFD__PROTO__ERROR_CODE__ERROR_LIMIT);
SAME(DMABUFD_CODE_BACKEND, DMABUFD__PROTO__ERROR_CODE__ERROR_BACKEND);
SAME(DMABUFD_CODE_UNSUPPORTED, DMABUFD__PROTO__ERROR_CODE__ERROR_UNSUPPORTED);
SAME(DMABUFD_CODE_SHUTTING_DOWN, DMABUFD__PROTO__ERROR_CODE__ERROR_SHUTTING_DOWN);
SAME(DMABUFD_CODE_INTERNAL, DMABUFD__PROTO__ERROR_CODE__ERROR_INTERNAL);
SAME(DMABUFD_CODE_CONSTRAINTS, DMABUFD__PROTO__ERROR_CODE__ERROR_CONSTRAINTS);
SAME(DMABUFD_CODE_NO_NAME, DMABUFD__PROTO__ERROR_CODE__ERROR_NO_NAME);
SAME(DMABUFD_CODE_NAME_TAKEN, DMABUFD__PROTO__ERROR_CODE__ERROR_NAME_TAKEN);
SAME(DMABUFD_CODE_DENIED, DMABUFD__PROTO__ERROR_CODE__ERROR_DENIED);
SAME(DMABUFD_READ_ONLY, DMABUFD__PROTO__ACCESS__ACCESS_READ_ONLY);
SAME(DMABUFD_READ_WRITE, DMABUFD__PROTO__ACCESS__ACCESS_READ_WRITE);
SAME(DMABUFD_MODE_PA, DMABUFD__PROTO__ADDRESS_MODE__MODE_PA);
SAME(DMABUFD_MODE_IOVA, DMABUFD__PROTO__ADDRESS_MODE__MODE_IOVA);
SAME(DMABUFD_MODE_FAKE, DMABUFD__PROTO__ADDRESS_MODE__MODE_FAKE);
SAME(DMABUFD_PIN_NONE, DMABUFD__PROTO__PIN_STRENGTH__PIN_NONE);
SAME(DMABUFD_PIN_REFERENCE, DMABUFD__PROTO__PIN_STRENGTH__PIN_REFERENCE);
SAME(DMABUFD_PIN_LONGTERM, DMABUFD__PROTO__PIN_STRENGTH__PIN_LONGTERM);

static void *arena_alloc(void *data, size_t size)
{
    struct message_arena *arena = data;
    size_t aligned;

    if (__builtin_add_overflow(size, sizeof(max_align_t) - 1, &aligned))
        return NULL;
    aligned &= ~(sizeof(max_align_t) - 1);
    if (aligned > sizeof(arena->bytes) - arena->used)
        return NULL;
    arena->used += aligned;
    return arena->bytes + arena->used - aligned;
}

static void arena_free(void *data, void *pointer)
{
    (void)data;
    (void)pointer;
}

static void *decode(const ProtobufCMessageDescriptor *type, struct message_arena *arena,
                    const void *data, size_t size)
{
    ProtobufCAllocator allocator = { .alloc = arena_alloc,
                                     .free = arena_free,
                                     .allocator_data = arena };

    arena->used = 0;
    return protobuf_c_message_unpack(type, &allocator, size, data);
}

static bool understood(const ProtobufCMessage *message);

/* The sub-messages of one field. */
static bool field_understood(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field)
{
    const void *member = (const char *)message + field->offset;
    const void *quantifier = (const char *)message + field->quantifier_offset;

    if (field->label == PROTOBUF_C_LABEL_REPEATED) {
        ProtobufCMessage *const *elements = *(ProtobufCMessage *const *const *)member;

        for (size_t i = 0; i < *(const size_t *)quantifier; i++) {
            if (!understood(elements[i]))
                return false;
        }
        return true;
    }
    if ((field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) && *(const uint32_t *)quantifier != field->id)
        return true;
    return !*(const ProtobufCMessage *const *)member ||
           understood(*(const ProtobufCMessage *const *)member);
}

/* No field at any level that this version does not know. Messages nest three deep at most. */
static bool understood(const ProtobufCMessage *message)
{
    const ProtobufCMessageDescriptor *type = message->descriptor;

    for (unsigned int i = 0; i < type->n_fields; i++) {
        if (type->fields[i].type == PROTOBUF_C_TYPE_MESSAGE &&
            !field_understood(message, &type->fields[i]))
            return false;
    }
    return message->n_unknown_fields == 0;
}

proto_request *message_decode_request(struct message_arena *arena, const void *data, size_t size)
{
    proto_request *request;

    if (size > PROTO_REQUEST_MAX)
        return NULL;
    request = decode(&dmabufd__proto__request__descriptor, arena, data, size);
    if (!request || request->id == 0 ||
        request->body_case == DMABUFD__PROTO__REQUEST__BODY__NOT_SET || !understood(&request->base))
        return NULL;
    return request;
}

proto_reply *message_decode_reply(struct message_arena *arena, const void *data, size_t size)
{
    proto_reply *reply;

    if (size > PROTO_REPLY_MAX)
        return NULL;
    reply = decode(&dmabufd__proto__reply__descriptor, arena, data, size);
    if (!reply || reply->body_case == DMABUFD__PROTO__REPLY__BODY__NOT_SET)
        return NULL;
    /* What is in an event of an unknown kind is nobody's business. */
    if (reply->body_case == DMABUFD__PROTO__REPLY__BODY_EVENT)
        return reply->id == 0 && reply->base.n_unknown_fields == 0 ? reply : NULL;
    return reply->id != 0 && understood(&reply->base) ? reply : NULL;
}

ssize_t message_encode_request(const proto_request *request, void *out)
{
    size_t size = dmabufd__proto__request__get_packed_size(request);

    if (size > PROTO_REQUEST_MAX)
        return -EMSGSIZE;
    return (ssize_t)dmabufd__proto__request__pack(request, out);
}

ssize_t message_encode_reply(const proto_reply *reply, void *out)
{
    size_t size = dmabufd__proto__reply__get_packed_size(reply);

    if (size > PROTO_REPLY_MAX)
        return -EMSGSIZE;
    return (ssize_t)dmabufd__proto__reply__pack(reply, out);
}
