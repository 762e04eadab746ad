/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * proto/message.h, what clients send: every kind of message there and back, and bytes that no
 * honest peer sends.
 */
#include "tests/unit/cmocka-all.h"

#include <errno.h>
#include <string.h>

#include "proto/message.h"
#include "tests/unit/exact.h"
#include "tests/unit/samples.h"
#include "tests/unit/support.h"

/* What decodes is a message: encoding it and decoding that gives the same bytes again. */
static void assert_sound_request(const void *bytes, size_t size)
{
    unsigned char first[PROTO_REQUEST_MAX], second[PROTO_REQUEST_MAX];
    const proto_request *request = exact_request(bytes, size);
    ssize_t n;

    if (!request)
        return;
    assert_int_not_equal(request->id, 0);
    assert_int_not_equal(request->body_case, DMABUFD__PROTO__REQUEST__BODY__NOT_SET);
    n = message_encode_request(request, first);
    assert_true(n > 0 && n <= (ssize_t)PROTO_REQUEST_MAX);
    request = exact_request(first, (size_t)n);
    assert_non_null(request);
    assert_int_equal(message_encode_request(request, second), n);
    assert_memory_equal(first, second, (size_t)n);
}

static void round_trips(void **state)
{
    unsigned char bytes[PROTO_REQUEST_MAX], again[PROTO_REQUEST_MAX];
    const proto_request *got;

    (void)state;
    for (size_t i = 0; i < SAMPLE_REQUESTS; i++) {
        const proto_request *sent = sample_request(i);
        ssize_t n = message_encode_request(sent, bytes);

        assert_true(n > 0);
        got = exact_request(bytes, (size_t)n);
        assert_non_null(got);
        assert_int_equal(got->id, sent->id);
        assert_int_equal(got->body_case, sent->body_case);
        assert_int_equal(message_encode_request(got, again), n);
        assert_memory_equal(bytes, again, (size_t)n);
    }
}

static void fields_arrive(void **state)
{
    unsigned char bytes[PROTO_REQUEST_MAX];
    const proto_request *got;
    ssize_t n;

    (void)state;
    n = message_encode_request(sample_request(SAMPLE_HELLO), bytes);
    got = exact_request(bytes, (size_t)n);
    assert_non_null(got);
    assert_int_equal(got->id, 1);
    assert_int_equal(got->hello->version_min, 1);
    assert_int_equal(got->hello->version_max, 3);
    assert_string_equal(got->hello->program, "unit test");
    n = message_encode_request(sample_request(SAMPLE_ALLOCATE), bytes);
    got = exact_request(bytes, (size_t)n);
    assert_non_null(got);
    assert_int_equal(got->id, UINT64_MAX);
    assert_int_equal(got->allocate->size, UINT64_MAX - 1);
    assert_int_equal(got->allocate->page_size, 4096);
    n = message_encode_request(sample_request(SAMPLE_FREE), bytes);
    got = exact_request(bytes, (size_t)n);
    assert_non_null(got);
    assert_int_equal(got->free->buffer, UINT64_C(0x100000001));
}

static void truncated_anywhere(void **state)
{
    unsigned char bytes[PROTO_REQUEST_MAX];
    ssize_t n;

    (void)state;
    for (size_t i = 0; i < SAMPLE_REQUESTS; i++) {
        n = message_encode_request(sample_request(i), bytes);
        for (ssize_t cut = 0; cut < n; cut++)
            assert_null(exact_request(bytes, (size_t)cut));
    }
}

static void any_bit_flipped(void **state)
{
    unsigned char bytes[PROTO_REQUEST_MAX];
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
    }
}

/* Bytes by hand: tag of field 1 is 0x08, of a body 0x12 (2) to 0x3a (7). */
#define REFUSED_REQUEST(...)                                \
    do {                                                    \
        const unsigned char bytes_[] = { __VA_ARGS__ };     \
        assert_null(exact_request(bytes_, sizeof(bytes_))); \
    } while (0)
#define TAKEN_REQUEST(...)                                      \
    do {                                                        \
        const unsigned char bytes_[] = { __VA_ARGS__ };         \
        assert_non_null(exact_request(bytes_, sizeof(bytes_))); \
    } while (0)

static void needs_an_id_and_a_body(void **state)
{
    (void)state;
    TAKEN_REQUEST(0x08, 1, 0x3a, 0);
    REFUSED_REQUEST(0x3a, 0);          /* no id */
    REFUSED_REQUEST(0x08, 0, 0x3a, 0); /* id 0 */
    REFUSED_REQUEST(0x08, 1);          /* no body */
    assert_null(exact_request("", 0));
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
    static unsigned char bytes[PROTO_REQUEST_MAX + 1], again[PROTO_REQUEST_MAX + 1];
    static char text[PROTO_REQUEST_MAX];
    Dmabufd__Proto__HelloRequest hello = DMABUFD__PROTO__HELLO_REQUEST__INIT;
    proto_request request = DMABUFD__PROTO__REQUEST__INIT;

    (void)state;
    request.id = 1;
    request.body_case = DMABUFD__PROTO__REQUEST__BODY_HELLO;
    request.hello = &hello;
    hello.program = text;
    /* id 2, tag and length of body 3, tag and length of text 3 */
    memset(text, 'x', PROTO_REQUEST_MAX - 8);
    assert_int_equal(message_encode_request(&request, bytes), PROTO_REQUEST_MAX);
    assert_non_null(exact_request(bytes, PROTO_REQUEST_MAX));
    text[PROTO_REQUEST_MAX - 8] = 'x';
    assert_int_equal(message_encode_request(&request, bytes), -EMSGSIZE);
    assert_int_equal(dmabufd__proto__request__pack(&request, again), PROTO_REQUEST_MAX + 1);
    assert_null(exact_request(again, PROTO_REQUEST_MAX + 1));
}

/* Request { id: 1, then @count bodies, of each kind in turn } */
static const proto_request *decode_many(size_t count)
{
    static unsigned char bytes[PROTO_REQUEST_MAX];

    assert_true(2 + 2 * count <= sizeof(bytes));
    bytes[0] = 0x08;
    bytes[1] = 1;
    for (size_t i = 0; i < count; i++) {
        bytes[2 + 2 * i] = (unsigned char)((2 + i % 6) << 3 | 2);
        bytes[3 + 2 * i] = 0;
    }
    return exact_request(bytes, 2 + 2 * count);
}

static void many_bodies_cannot_exhaust_memory(void **state)
{
    const proto_request *request = decode_many(9);

    (void)state;
    /* As protobuf has it, the last counts. */
    assert_non_null(request);
    assert_int_equal(request->body_case, DMABUFD__PROTO__REQUEST__BODY_FREE);
    assert_null(decode_many(2000));
    assert_true(exact_arena->used > sizeof(exact_arena->bytes) / 2);
}

/* The arena begins anew with each message. */
static void arena_is_reused(void **state)
{
    unsigned char bytes[PROTO_REQUEST_MAX];
    ssize_t n = message_encode_request(sample_request(SAMPLE_HELLO), bytes);
    size_t used;

    (void)state;
    assert_non_null(message_decode_request(exact_arena, bytes, (size_t)n));
    used = exact_arena->used;
    assert_true(used > 0);
    for (int i = 0; i < 10000; i++)
        assert_non_null(message_decode_request(exact_arena, bytes, (size_t)n));
    assert_int_equal(exact_arena->used, used);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trips),
        cmocka_unit_test(fields_arrive),
        cmocka_unit_test(truncated_anywhere),
        cmocka_unit_test(any_bit_flipped),
        cmocka_unit_test(any_bytes),
        cmocka_unit_test(needs_an_id_and_a_body),
        cmocka_unit_test(unknown_fields_are_refused),
        cmocka_unit_test(wrong_wire_types_are_refused),
        cmocka_unit_test(size_limits_are_exact),
        cmocka_unit_test(many_bodies_cannot_exhaust_memory),
        cmocka_unit_test(arena_is_reused),
    };

    return cmocka_run_group_tests_name("message-request", tests, exact_setup, exact_teardown);
}
