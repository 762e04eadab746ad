/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Any bytes as a Request and as a Reply (proto/message.h). What decodes must be a message: it has an
 * id and a body, encodes, and says the same again. A scatter list in it is taken out as the library
 * does (proto/spantable.h).
 */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/spans.h"
#include "proto/message.h"
#include "proto/spantable.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/samples.h"

const unsigned int fuzz_runs = 20000;

static struct message_arena arena;
static uint8_t first[PROTO_REPLY_MAX], second[PROTO_REPLY_MAX];

static void need(bool ok)
{
    if (!ok)
        abort();
}

static void request(const uint8_t *data, size_t size)
{
    const proto_request *got = message_decode_request(&arena, data, size);
    ssize_t n;

    if (!got)
        return;
    need(got->id != 0 && got->body_case != DMABUFD__PROTO__REQUEST__BODY__NOT_SET);
    need(arena.used <= sizeof(arena.bytes));
    n = message_encode_request(got, first);
    need(n > 0 && n <= (ssize_t)PROTO_REQUEST_MAX);
    got = message_decode_request(&arena, first, (size_t)n);
    need(got != NULL && message_encode_request(got, second) == n);
    need(memcmp(first, second, (size_t)n) == 0);
}

static void take_spans(const Dmabufd__Proto__BufferReply *buffer)
{
    struct dmabufd_span *list = NULL;
    int r = spantable_decode(buffer->spans.data, buffer->spans.len, buffer->span_count,
                             buffer->size, &list);

    need((r == 0) == (list != NULL));
    if (r == 0)
        need(spans_check(list, buffer->span_count, buffer->size) == 0);
    free(list);
}

static void reply(const uint8_t *data, size_t size)
{
    const proto_reply *got = message_decode_reply(&arena, data, size);
    ssize_t n;

    if (!got)
        return;
    need((got->id == 0) == (got->body_case == DMABUFD__PROTO__REPLY__BODY_EVENT));
    need(got->body_case != DMABUFD__PROTO__REPLY__BODY__NOT_SET);
    need(arena.used <= sizeof(arena.bytes));
    if (got->body_case == DMABUFD__PROTO__REPLY__BODY_BUFFER)
        take_spans(got->buffer);
    n = message_encode_reply(got, first);
    need(n > 0 && n <= (ssize_t)PROTO_REPLY_MAX);
    got = message_decode_reply(&arena, first, (size_t)n);
    need(got != NULL && message_encode_reply(got, second) == n);
    need(memcmp(first, second, (size_t)n) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    request(data, size);
    reply(data, size);
    return 0;
}

size_t fuzz_seed(size_t index, uint8_t *bytes)
{
    ssize_t n = 0;

    if (index < SAMPLE_REQUESTS)
        n = message_encode_request(sample_request(index), bytes);
    else if (index < SAMPLE_REQUESTS + SAMPLE_REPLIES)
        n = message_encode_reply(sample_reply(index - SAMPLE_REQUESTS), bytes);
    return n > 0 ? (size_t)n : 0;
}
