/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * proto/message.h, what the daemon sends, to whom it answers and unasked: every kind of message there and back, and bytes that no
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
static void assert_sound_reply(const void *bytes, size_t size)
{
    unsigned char first[PROTO_REPLY_MAX], second[PROTO_REPLY_MAX];
    const proto_reply *reply = exact_reply(bytes, size);
    ssize_t n;

    if (!reply)
        return;
    assert_int_equal(reply->id == 0, reply->body_case == DMABUFD__PROTO__REPLY__BODY_EVENT);
    assert_int_not_equal(reply->body_case, DMABUFD__PROTO__REPLY__BODY__NOT_SET);
    n = message_encode_reply(reply, first);
    assert_true(n > 0 && n <= (ssize_t)PROTO_REPLY_MAX);
    reply = exact_reply(first, (size_t)n);
    assert_non_null(reply);
    assert_int_equal(message_encode_reply(reply, second), n);
    assert_memory_equal(first, second, (size_t)n);
}

static void round_trips(void **state)
{
    unsigned char bytes[PROTO_REPLY_MAX], again[PROTO_REPLY_MAX];
    const proto_reply *got;

    (void)state;
    for (size_t i = 0; i < SAMPLE_REPLIES; i++) {
        const proto_reply *sent = sample_reply(i);
        ssize_t n = message_encode_reply(sent, bytes);

        assert_true(n > 0);
        got = exact_reply(bytes, (size_t)n);
        assert_non_null(got);
        assert_int_equal(got->id, sent->id);
        assert_int_equal(got->body_case, sent->body_case);
        assert_int_equal(message_encode_reply(got, again), n);
        assert_memory_equal(bytes, again, (size_t)n);
    }
}

static void fields_arrive(void **state)
{
    unsigned char bytes[PROTO_REPLY_MAX];
    const proto_reply *sent, *got;
    ssize_t n;

    (void)state;
    n = message_encode_reply(sample_reply(SAMPLE_ERROR), bytes);
    got = exact_reply(bytes, (size_t)n);
    assert_non_null(got);
    assert_int_equal(got->error->code, DMABUFD_CODE_NO_HUGE_PAGES);
    assert_int_equal(got->error->errno_value, ENOMEM);
    assert_int_equal(strlen(got->error->text), FAULT_TEXT_MAX - 1);
    n = message_encode_reply(sample_reply(SAMPLE_BUFFER), bytes);
    got = exact_reply(bytes, (size_t)n);
    assert_non_null(got);
    sent = sample_reply(SAMPLE_BUFFER);
    assert_int_equal(got->buffer->mode, DMABUFD_MODE_PA);
    assert_int_equal(got->buffer->span_count, PROTO_SPANS_INLINE_MAX);
    assert_int_equal(got->buffer->spans.len, 24 * PROTO_SPANS_INLINE_MAX);
    assert_memory_equal(got->buffer->spans.data, sent->buffer->spans.data, sent->buffer->spans.len);
    n = message_encode_reply(sample_reply(SAMPLE_LIST), bytes);
    got = exact_reply(bytes, (size_t)n);
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
        assert_non_null(exact_reply(bytes, (size_t)n));
        assert_true(exact_arena->used <= sizeof(exact_arena->bytes) / 2);
    }
}

static void truncated_anywhere(void **state)
{
    unsigned char bytes[PROTO_REPLY_MAX];
    ssize_t n;

    (void)state;
    for (size_t i = 0; i < SAMPLE_REPLIES; i++) {
        n = message_encode_reply(sample_reply(i), bytes);
        for (ssize_t cut = 0; cut < n; cut++)
            assert_null(exact_reply(bytes, (size_t)cut));
    }
}

static void any_bit_flipped(void **state)
{
    unsigned char bytes[PROTO_REPLY_MAX];
    ssize_t n;

    (void)state;
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
        assert_sound_reply(bytes, size);
    }
}

/* Bytes by hand: tag of field 1 is 0x08, of a body 0x12 (2) to 0x3a (7). */
#define REFUSED_REPLY(...)                                \
    do {                                                  \
        const unsigned char bytes_[] = { __VA_ARGS__ };   \
        assert_null(exact_reply(bytes_, sizeof(bytes_))); \
    } while (0)
#define TAKEN_REPLY(...)                                      \
    do {                                                      \
        const unsigned char bytes_[] = { __VA_ARGS__ };       \
        assert_non_null(exact_reply(bytes_, sizeof(bytes_))); \
    } while (0)

static void needs_an_id_and_a_body(void **state)
{
    (void)state;
    TAKEN_REPLY(0x08, 1, 0x3a, 0);
    REFUSED_REPLY(0x3a, 0);
    REFUSED_REPLY(0x08, 0, 0x3a, 0);
    REFUSED_REPLY(0x08, 1);
    assert_null(exact_reply("", 0));
}

static void unknown_fields_are_refused(void **state)
{
    (void)state;
    REFUSED_REPLY(0x08, 1, 0x3a, 0, 0x78, 1);
    REFUSED_REPLY(0x08, 1, 0x72, 0);
    REFUSED_REPLY(0x08, 1, 0x2a, 2, 0x08, 1);
    REFUSED_REPLY(0x08, 1, 0x22, 4, 0x08, 5, 0x78, 1);
    TAKEN_REPLY(0x08, 1, 0x22, 2, 0x08, 5);
}

/* ListReply { buffers { buffer: 5, field 15: 1 } } */
static void unknown_fields_in_elements_are_refused(void **state)
{
    (void)state;
    TAKEN_REPLY(0x08, 1, 0x32, 4, 0x0a, 2, 0x08, 5);
    REFUSED_REPLY(0x08, 1, 0x32, 6, 0x0a, 4, 0x08, 5, 0x78, 1);
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

static void size_limits_are_exact(void **state)
{
    static unsigned char bytes[PROTO_REPLY_MAX + 1], again[PROTO_REPLY_MAX + 1];
    static char text[PROTO_REPLY_MAX];
    Dmabufd__Proto__Error error = DMABUFD__PROTO__ERROR__INIT;
    proto_reply reply = DMABUFD__PROTO__REPLY__INIT;

    (void)state;
    reply.id = 1;
    reply.body_case = DMABUFD__PROTO__REPLY__BODY_ERROR;
    reply.error = &error;
    error.text = text;
    /* id 2, tag and length of body 3, tag and length of text 3 */
    memset(text, 'x', PROTO_REPLY_MAX - 8);
    assert_int_equal(message_encode_reply(&reply, bytes), PROTO_REPLY_MAX);
    assert_non_null(exact_reply(bytes, PROTO_REPLY_MAX));
    text[PROTO_REPLY_MAX - 8] = 'x';
    assert_int_equal(message_encode_reply(&reply, bytes), -EMSGSIZE);
    assert_int_equal(dmabufd__proto__reply__pack(&reply, again), PROTO_REPLY_MAX + 1);
    assert_null(exact_reply(again, PROTO_REPLY_MAX + 1));
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
    assert_null(exact_reply(bytes, sizeof(bytes)));
    /* It did come that far: nearly all of the arena was taken. */
    assert_true(exact_arena->used > sizeof(exact_arena->bytes) / 2);
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
    reply = exact_reply(bytes, 9 + numbers);
    assert_non_null(reply);
    assert_int_equal(reply->hello->n_page_sizes, numbers / 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trips),
        cmocka_unit_test(fields_arrive),
        cmocka_unit_test(largest_messages_fit),
        cmocka_unit_test(truncated_anywhere),
        cmocka_unit_test(any_bit_flipped),
        cmocka_unit_test(any_bytes),
        cmocka_unit_test(needs_an_id_and_a_body),
        cmocka_unit_test(unknown_fields_are_refused),
        cmocka_unit_test(unknown_fields_in_elements_are_refused),
        cmocka_unit_test(events),
        cmocka_unit_test(size_limits_are_exact),
        cmocka_unit_test(elements_cannot_exhaust_memory),
        cmocka_unit_test(packed_numbers_cannot_exhaust_memory),
    };

    return cmocka_run_group_tests_name("message-reply", tests, exact_setup, exact_teardown);
}
