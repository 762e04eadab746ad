/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * proto/message.h: every kind of message there and back, and bytes that no honest peer sends.
 * Messages are decoded from blocks of exactly their size, so that a sanitizer sees one byte too far.
 */
#include "tests/unit/cmocka-all.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "proto/message.h"
#include "tests/unit/samples.h"
#include "tests/unit/support.h"

/* On the heap, with nothing allowed behind it. */
static struct message_arena *arena;

static int setup(void **state)
{
    (void)state;
    arena = malloc(sizeof(*arena));
    return arena ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    free(arena);
    return 0;
}

static proto_request *decode_request(const void *bytes, size_t size)
{
    CLEANUP_FREE void *exact = malloc(size ? size : 1);
    proto_request *request;

    assert_non_null(exact);
    memcpy(exact, bytes, size);
    memset(arena, 0xa5, sizeof(*arena));
    request = message_decode_request(arena, exact, size);
    if (size <= PROTO_REQUEST_MAX)
        assert_true(arena->used <= sizeof(arena->bytes));
    return request;
}

static proto_reply *decode_reply(const void *bytes, size_t size)
{
    CLEANUP_FREE void *exact = malloc(size ? size : 1);
    proto_reply *reply;

    assert_non_null(exact);
    memcpy(exact, bytes, size);
    memset(arena, 0xa5, sizeof(*arena));
    reply = message_decode_reply(arena, exact, size);
    if (size <= PROTO_REPLY_MAX)
        assert_true(arena->used <= sizeof(arena->bytes));
    return reply;
}

/* What decodes is a message: encoding it and decoding that gives the same bytes again. */
static void assert_sound_request(const void *bytes, size_t size)
{
    unsigned char first[PROTO_REQUEST_MAX], second[PROTO_REQUEST_MAX];
    const proto_request *request = decode_request(bytes, size);
    ssize_t n;

    if (!request)
        return;
    assert_int_not_equal(request->id, 0);
    assert_int_not_equal(request->body_case, DMABUFD__PROTO__REQUEST__BODY__NOT_SET);
    n = message_encode_request(request, first);
    assert_true(n > 0 && n <= (ssize_t)PROTO_REQUEST_MAX);
    request = decode_request(first, (size_t)n);
    assert_non_null(request);
    assert_int_equal(message_encode_request(request, second), n);
    assert_memory_equal(first, second, (size_t)n);
}

static void assert_sound_reply(const void *bytes, size_t size)
{
    unsigned char first[PROTO_REPLY_MAX], second[PROTO_REPLY_MAX];
    const proto_reply *reply = decode_reply(bytes, size);
    ssize_t n;

    if (!reply)
        return;
    assert_int_equal(reply->id == 0, reply->body_case == DMABUFD__PROTO__REPLY__BODY_EVENT);
    assert_int_not_equal(reply->body_case, DMABUFD__PROTO__REPLY__BODY__NOT_SET);
    n = message_encode_reply(reply, first);
    assert_true(n > 0 && n <= (ssize_t)PROTO_REPLY_MAX);
    reply = decode_reply(first, (size_t)n);
    assert_non_null(reply);
    assert_int_equal(message_encode_reply(reply, second), n);
    assert_memory_equal(first, second, (size_t)n);
}

static void request_round_trips(void **state)
{
    unsigned char bytes[PROTO_REQUEST_MAX], again[PROTO_REQUEST_MAX];
    const proto_request *got;

    (void)state;
    for (size_t i = 0; i < SAMPLE_REQUESTS; i++) {
        const proto_request *sent = sample_request(i);
        ssize_t n = message_encode_request(sent, bytes);

        assert_true(n > 0);
        got = decode_request(bytes, (size_t)n);
        assert_non_null(got);
        assert_int_equal(got->id, sent->id);
        assert_int_equal(got->body_case, sent->body_case);
        assert_int_equal(message_encode_request(got, again), n);
        assert_memory_equal(bytes, again, (size_t)n);
    }
}

static void request_fields_arrive(void **state)
{
    unsigned char bytes[PROTO_REQUEST_MAX];
    const proto_request *got;
    ssize_t n;

    (void)state;
    n = message_encode_request(sample_request(SAMPLE_HELLO), bytes);
    got = decode_request(bytes, (size_t)n);
    assert_non_null(got);
    assert_int_equal(got->id, 1);
    assert_int_equal(got->hello->version_min, 1);
    assert_int_equal(got->hello->version_max, 3);
    assert_string_equal(got->hello->program, "unit test");
    n = message_encode_request(sample_request(SAMPLE_ALLOCATE), bytes);
    got = decode_request(bytes, (size_t)n);
    assert_non_null(got);
    assert_int_equal(got->id, UINT64_MAX);
    assert_int_equal(got->allocate->size, UINT64_MAX - 1);
    assert_int_equal(got->allocate->page_size, 4096);
    n = message_encode_request(sample_request(SAMPLE_FREE), bytes);
    got = decode_request(bytes, (size_t)n);
    assert_non_null(got);
    assert_int_equal(got->free->buffer, UINT64_C(0x100000001));
}

static void reply_round_trips(void **state)
{
    unsigned char bytes[PROTO_REPLY_MAX], again[PROTO_REPLY_MAX];
    const proto_reply *got;

    (void)state;
    for (size_t i = 0; i < SAMPLE_REPLIES; i++) {
        const proto_reply *sent = sample_reply(i);
        ssize_t n = message_encode_reply(sent, bytes);

        assert_true(n > 0);
        got = decode_reply(bytes, (size_t)n);
        assert_non_null(got);
        assert_int_equal(got->id, sent->id);
        assert_int_equal(got->body_case, sent->body_case);
        assert_int_equal(message_encode_reply(got, again), n);
        assert_memory_equal(bytes, again, (size_t)n);
    }
}

static void reply_fields_arrive(void **state)
{
    unsigned char bytes[PROTO_REPLY_MAX];
    const proto_reply *sent, *got;
    ssize_t n;

    (void)state;
    n = message_encode_reply(sample_reply(SAMPLE_ERROR), bytes);
    got = decode_reply(bytes, (size_t)n);
    assert_non_null(got);
    assert_int_equal(got->error->code, DMABUFD_CODE_NO_HUGE_PAGES);
    assert_int_equal(got->error->errno_value, ENOMEM);
    assert_int_equal(strlen(got->error->text), FAULT_TEXT_MAX - 1);
    n = message_encode_reply(sample_reply(SAMPLE_BUFFER), bytes);
    got = decode_reply(bytes, (size_t)n);
    assert_non_null(got);
    sent = sample_reply(SAMPLE_BUFFER);
    assert_int_equal(got->buffer->mode, DMABUFD_MODE_PA);
    assert_int_equal(got->buffer->span_count, PROTO_SPANS_INLINE_MAX);
    assert_int_equal(got->buffer->spans.len, 24 * PROTO_SPANS_INLINE_MAX);
    assert_memory_equal(got->buffer->spans.data, sent->buffer->spans.data, sent->buffer->spans.len);
    n = message_encode_reply(sample_reply(SAMPLE_LIST), bytes);
    got = decode_reply(bytes, (size_t)n);
    assert_non_null(got);
    assert_int_equal(got->list->n_buffers, PROTO_LIST_PAGE);
    assert_int_equal(got->list->next, UINT64_MAX);
    for (size_t i = 0; i < PROTO_LIST_PAGE; i++) {
        assert_int_equal(got->list->buffers[i]->buffer, UINT64_MAX - i);
        assert_int_equal(got->list->buffers[i]->holders, UINT32_MAX - i);
    }
}

/* The largest of each kind that the daemon and the library make fits, on the wire and in memory. */
static void largest_messages_fit(void **state)
{
    unsigned char bytes[PROTO_REPLY_MAX];

    (void)state;
    for (size_t i = 0; i < SAMPLE_REPLIES; i++) {
        ssize_t n = message_encode_reply(sample_reply(i), bytes);

        assert_true(n > 0);
        assert_non_null(decode_reply(bytes, (size_t)n));
        assert_true(arena->used <= sizeof(arena->bytes) / 2);
    }
}

static void truncated_anywhere(void **state)
{
    unsigned char bytes[PROTO_REPLY_MAX];
    ssize_t n;

    (void)state;
    for (size_t i = 0; i < SAMPLE_REQUESTS; i++) {
        n = message_encode_request(sample_request(i), bytes);
        for (ssize_t cut = 0; cut < n; cut++)
            assert_null(decode_request(bytes, (size_t)cut));
    }
    for (size_t i = 0; i < SAMPLE_REPLIES; i++) {
        n = message_encode_reply(sample_reply(i), bytes);
        for (ssize_t cut = 0; cut < n; cut++)
            assert_null(decode_reply(bytes, (size_t)cut));
    }
}

static void any_bit_flipped(void **state)
{
    unsigned char bytes[PROTO_REPLY_MAX];
    ssize_t n;

    (void)state;
    for (size_t i = 0; i < SAMPLE_REQUESTS; i++) {
        n = message_encode_request(sample_request(i), bytes);
        for (ssize_t bit = 0; bit < n * 8; bit++) {
            bytes[bit / 8] ^= (unsigned char)(1U << bit % 8);
            assert_sound_request(bytes, (size_t)n);
            bytes[bit / 8] ^= (unsigned char)(1U << bit % 8);
        }
    }
    for (size_t i = 0; i < SAMPLE_REPLIES; i++) {
        n = message_encode_reply(sample_reply(i), bytes);
        for (ssize_t bit = 0; bit < n * 8; bit++) {
            bytes[bit / 8] ^= (unsigned char)(1U << bit % 8);
            assert_sound_reply(bytes, (size_t)n);
            bytes[bit / 8] ^= (unsigned char)(1U << bit % 8);
        }
    }
}

static void any_bytes(void **state)
{
    unsigned char bytes[512];
    uint64_t random = support_seed();

    (void)state;
    for (int i = 0; i < 20000; i++) {
        size_t size = support_below(&random, sizeof(bytes));

        support_fill(&random, bytes, size);
        /* Mostly begin like a message, to get further. */
        if (size > 4 && i % 4) {
            bytes[0] = 0x08;
            bytes[1] = 1;
            bytes[2] = (unsigned char)((1 + support_below(&random, 8)) << 3 | 2);
            bytes[3] = (unsigned char)(size < 131 ? size - 4 : 127);
        }
        assert_sound_request(bytes, size);
        assert_sound_reply(bytes, size);
    }
}

/* Bytes by hand: tag of field 1 is 0x08, of a body 0x12 (2) to 0x3a (7). */
#define REFUSED_REQUEST(...)                                 \
    do {                                                     \
        const unsigned char bytes_[] = { __VA_ARGS__ };      \
        assert_null(decode_request(bytes_, sizeof(bytes_))); \
    } while (0)
#define TAKEN_REQUEST(...)                                       \
    do {                                                         \
        const unsigned char bytes_[] = { __VA_ARGS__ };          \
        assert_non_null(decode_request(bytes_, sizeof(bytes_))); \
    } while (0)
#define REFUSED_REPLY(...)                                 \
    do {                                                   \
        const unsigned char bytes_[] = { __VA_ARGS__ };    \
        assert_null(decode_reply(bytes_, sizeof(bytes_))); \
    } while (0)
#define TAKEN_REPLY(...)                                       \
    do {                                                       \
        const unsigned char bytes_[] = { __VA_ARGS__ };        \
        assert_non_null(decode_reply(bytes_, sizeof(bytes_))); \
    } while (0)

static void needs_an_id_and_a_body(void **state)
{
    (void)state;
    TAKEN_REQUEST(0x08, 1, 0x3a, 0);
    REFUSED_REQUEST(0x3a, 0);          /* no id */
    REFUSED_REQUEST(0x08, 0, 0x3a, 0); /* id 0 */
    REFUSED_REQUEST(0x08, 1);          /* no body */
    assert_null(decode_request("", 0));
    TAKEN_REPLY(0x08, 1, 0x3a, 0);
    REFUSED_REPLY(0x3a, 0);
    REFUSED_REPLY(0x08, 0, 0x3a, 0);
    REFUSED_REPLY(0x08, 1);
    assert_null(decode_reply("", 0));
}

static void unknown_fields_are_refused(void **state)
{
    (void)state;
    REFUSED_REQUEST(0x08, 1, 0x3a, 0, 0x78, 1);          /* field 15 behind the body */
    REFUSED_REQUEST(0x78, 1, 0x08, 1, 0x3a, 0);          /* before all */
    REFUSED_REQUEST(0x08, 1, 0x72, 0);                   /* a body of another version */
    REFUSED_REQUEST(0x08, 1, 0x3a, 2, 0x08, 1);          /* in a body that has no fields */
    REFUSED_REQUEST(0x08, 1, 0x22, 4, 0x08, 5, 0x78, 1); /* in a body that has some */
    TAKEN_REQUEST(0x08, 1, 0x22, 2, 0x08, 5);            /* the same without */
    REFUSED_REPLY(0x08, 1, 0x3a, 0, 0x78, 1);
    REFUSED_REPLY(0x08, 1, 0x72, 0);
    REFUSED_REPLY(0x08, 1, 0x2a, 2, 0x08, 1);
    REFUSED_REPLY(0x08, 1, 0x22, 4, 0x08, 5, 0x78, 1);
    TAKEN_REPLY(0x08, 1, 0x22, 2, 0x08, 5);
}

/* Field 40 is 0xc2 0x02 for a message and 0xc0 0x02 for a number. */
static void events(void **state)
{
    (void)state;
    TAKEN_REPLY(0xc2, 2, 3, 0xc0, 2, 40);               /* the one there is */
    TAKEN_REPLY(0xc2, 2, 0);                            /* of no kind */
    TAKEN_REPLY(0xc2, 2, 4, 0xc0, 2, 0xe7, 7);          /* of an unknown kind */
    TAKEN_REPLY(0xc2, 2, 6, 0xc0, 2, 99, 0x0a, 1, 'x'); /* with a field that nobody knows */
    REFUSED_REPLY(0x08, 1, 0xc2, 2, 3, 0xc0, 2, 40);    /* with an id */
    REFUSED_REPLY(0xc2, 2, 3, 0xc0, 2, 40, 0x78, 1);    /* with something behind it */
    REFUSED_REPLY(0xc2, 2, 3, 0xc0, 2);                 /* cut off */
    REFUSED_REPLY(0x08, 0, 0x2a, 0);                    /* a reply to nothing */
}

/* ListReply { buffers { buffer: 5, field 15: 1 } } */
static void unknown_fields_in_elements_are_refused(void **state)
{
    (void)state;
    TAKEN_REPLY(0x08, 1, 0x32, 4, 0x0a, 2, 0x08, 5);
    REFUSED_REPLY(0x08, 1, 0x32, 6, 0x0a, 4, 0x08, 5, 0x78, 1);
}

static void wrong_wire_types_are_refused(void **state)
{
    (void)state;
    REFUSED_REQUEST(0x0a, 1, 1, 0x3a, 0);                /* id as a string */
    REFUSED_REQUEST(0x08, 1, 0x38, 1);                   /* body as a number */
    REFUSED_REQUEST(0x08, 1, 0x22, 2, 0x0a, 0);          /* buffer as a string */
    REFUSED_REQUEST(0x08, 1, 0x3b, 0x3c);                /* body as a group */
    REFUSED_REQUEST(0x08, 1, 0x1a, 5, 0x0d, 0, 0, 0, 0); /* size with 32 bits */
    REFUSED_REQUEST(0x00, 1, 0x08, 1, 0x3a, 0);          /* field 0 */
    REFUSED_REQUEST(0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1);
    REFUSED_REQUEST(0x08, 1, 0x3a, 0xff, 0xff, 0xff, 0xff, 0x0f); /* length beyond the end */
    REFUSED_REQUEST(0x08, 1, 0x3a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1);
}

static void size_limits_are_exact(void **state)
{
    static unsigned char bytes[PROTO_REPLY_MAX + 1], again[PROTO_REPLY_MAX + 1];
    static char text[PROTO_REPLY_MAX];
    Dmabufd__Proto__HelloRequest hello = DMABUFD__PROTO__HELLO_REQUEST__INIT;
    Dmabufd__Proto__Error error = DMABUFD__PROTO__ERROR__INIT;
    proto_request request = DMABUFD__PROTO__REQUEST__INIT;
    proto_reply reply = DMABUFD__PROTO__REPLY__INIT;

    (void)state;
    request.id = reply.id = 1;
    request.body_case = DMABUFD__PROTO__REQUEST__BODY_HELLO;
    request.hello = &hello;
    hello.program = error.text = text;
    /* id 2, tag and length of body 3, tag and length of text 3 */
    memset(text, 'x', PROTO_REQUEST_MAX - 8);
    assert_int_equal(message_encode_request(&request, bytes), PROTO_REQUEST_MAX);
    assert_non_null(decode_request(bytes, PROTO_REQUEST_MAX));
    text[PROTO_REQUEST_MAX - 8] = 'x';
    assert_int_equal(message_encode_request(&request, bytes), -EMSGSIZE);
    assert_int_equal(dmabufd__proto__request__pack(&request, again), PROTO_REQUEST_MAX + 1);
    assert_null(decode_request(again, PROTO_REQUEST_MAX + 1));
    reply.body_case = DMABUFD__PROTO__REPLY__BODY_ERROR;
    reply.error = &error;
    memset(text, 'x', PROTO_REPLY_MAX - 8);
    assert_int_equal(message_encode_reply(&reply, bytes), PROTO_REPLY_MAX);
    assert_non_null(decode_reply(bytes, PROTO_REPLY_MAX));
    text[PROTO_REPLY_MAX - 8] = 'x';
    assert_int_equal(message_encode_reply(&reply, bytes), -EMSGSIZE);
    assert_int_equal(dmabufd__proto__reply__pack(&reply, again), PROTO_REPLY_MAX + 1);
    assert_null(decode_reply(again, PROTO_REPLY_MAX + 1));
}

/* Two bytes on the wire, some seventy in memory: as many empty elements as a message holds. */
static void elements_cannot_exhaust_memory(void **state)
{
    static unsigned char bytes[PROTO_REPLY_MAX];
    size_t body = sizeof(bytes) - 6;

    (void)state;
    memcpy(bytes, (unsigned char[]){ 0x08, 1, 0x32 }, 3);
    bytes[3] = (unsigned char)((body & 0x7f) | 0x80);
    bytes[4] = (unsigned char)((body >> 7 & 0x7f) | 0x80);
    bytes[5] = (unsigned char)(body >> 14);
    for (size_t i = 0; i + 1 < body; i += 2) {
        bytes[6 + i] = 0x0a;
        bytes[7 + i] = 0;
    }
    assert_null(decode_reply(bytes, sizeof(bytes)));
    /* It did come that far: nearly all of the arena was taken. */
    assert_true(arena->used > sizeof(arena->bytes) / 2);
}

/* Request { id: 1, then @count bodies, of each kind in turn } */
static const proto_request *decode_bodies(size_t count)
{
    static unsigned char bytes[PROTO_REQUEST_MAX];

    assert_true(2 + 2 * count <= sizeof(bytes));
    bytes[0] = 0x08;
    bytes[1] = 1;
    for (size_t i = 0; i < count; i++) {
        bytes[2 + 2 * i] = (unsigned char)((2 + i % 6) << 3 | 2);
        bytes[3 + 2 * i] = 0;
    }
    return decode_request(bytes, 2 + 2 * count);
}

static void many_bodies_cannot_exhaust_memory(void **state)
{
    const proto_request *request = decode_bodies(9);

    (void)state;
    /* As protobuf has it, the last counts. */
    assert_non_null(request);
    assert_int_equal(request->body_case, DMABUFD__PROTO__REQUEST__BODY_FREE);
    assert_null(decode_bodies(2000));
    assert_true(arena->used > sizeof(arena->bytes) / 2);
}

static void packed_numbers_cannot_exhaust_memory(void **state)
{
    static unsigned char bytes[PROTO_REPLY_MAX];
    size_t numbers = sizeof(bytes) - 16;
    const proto_reply *reply;

    (void)state;
    numbers -= numbers % 8;
    /* HelloReply.page_sizes as one packed field: 2000 numbers of 8 bytes fit, and are taken as such. */
    memcpy(bytes, (unsigned char[]){ 0x08, 1, 0x1a }, 3);
    bytes[3] = (unsigned char)(((numbers + 4) & 0x7f) | 0x80);
    bytes[4] = (unsigned char)((numbers + 4) >> 7);
    bytes[5] = 0x3a;
    bytes[6] = (unsigned char)((numbers & 0x7f) | 0x80);
    bytes[7] = (unsigned char)(numbers >> 7 & 0x7f) | 0x80;
    bytes[8] = (unsigned char)(numbers >> 14);
    assert_true(numbers + 4 < 1U << 14);
    reply = decode_reply(bytes, 9 + numbers);
    assert_non_null(reply);
    assert_int_equal(reply->hello->n_page_sizes, numbers / 8);
}

/* The arena begins anew with each message. */
static void arena_is_reused(void **state)
{
    unsigned char bytes[PROTO_REQUEST_MAX];
    ssize_t n = message_encode_request(sample_request(SAMPLE_HELLO), bytes);
    size_t used;

    (void)state;
    assert_non_null(message_decode_request(arena, bytes, (size_t)n));
    used = arena->used;
    assert_true(used > 0);
    for (int i = 0; i < 10000; i++)
        assert_non_null(message_decode_request(arena, bytes, (size_t)n));
    assert_int_equal(arena->used, used);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(request_round_trips),
        cmocka_unit_test(request_fields_arrive),
        cmocka_unit_test(reply_round_trips),
        cmocka_unit_test(reply_fields_arrive),
        cmocka_unit_test(largest_messages_fit),
        cmocka_unit_test(truncated_anywhere),
        cmocka_unit_test(any_bit_flipped),
        cmocka_unit_test(any_bytes),
        cmocka_unit_test(needs_an_id_and_a_body),
        cmocka_unit_test(unknown_fields_are_refused),
        cmocka_unit_test(events),
        cmocka_unit_test(unknown_fields_in_elements_are_refused),
        cmocka_unit_test(wrong_wire_types_are_refused),
        cmocka_unit_test(size_limits_are_exact),
        cmocka_unit_test(elements_cannot_exhaust_memory),
        cmocka_unit_test(many_bodies_cannot_exhaust_memory),
        cmocka_unit_test(packed_numbers_cannot_exhaust_memory),
        cmocka_unit_test(arena_is_reused),
    };

    return cmocka_run_group_tests_name("message", tests, setup, teardown);
}
