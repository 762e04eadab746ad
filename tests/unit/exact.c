/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Decoding under observation; see exact.h. */
#include "tests/unit/exact.h"

#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "tests/unit/cmocka-all.h"

struct message_arena *exact_arena;

int exact_setup(void **state)
{
    (void)state;
    exact_arena = malloc(sizeof(*exact_arena));
    return exact_arena ? 0 : -1;
}

int exact_teardown(void **state)
{
    (void)state;
    free(exact_arena);
    return 0;
}

proto_request *exact_request(const void *bytes, size_t size)
{
    CLEANUP_FREE void *exact = malloc(size ? size : 1);
    proto_request *request;

    assert_non_null(exact);
    memcpy(exact, bytes, size);
    memset(exact_arena, 0xa5, sizeof(*exact_arena));
    request = message_decode_request(exact_arena, exact, size);
    if (size <= PROTO_REQUEST_MAX)
        assert_true(exact_arena->used <= sizeof(exact_arena->bytes));
    return request;
}

proto_reply *exact_reply(const void *bytes, size_t size)
{
    CLEANUP_FREE void *exact = malloc(size ? size : 1);
    proto_reply *reply;

    assert_non_null(exact);
    memcpy(exact, bytes, size);
    memset(exact_arena, 0xa5, sizeof(*exact_arena));
    reply = message_decode_reply(exact_arena, exact, size);
    if (size <= PROTO_REPLY_MAX)
        assert_true(exact_arena->used <= sizeof(exact_arena->bytes));
    return reply;
}
