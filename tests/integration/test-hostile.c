/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Hostile messages. Whatever a client sends, the end of it is its own: its connection ends and the
 * log tells of it, while a client that was connected all the time goes on working, the broker
 * lives, and nothing is left behind.
 *
 * Needs the fake backend's script. Descriptors as weapons are test-descriptors.c's, greedy and slow
 * clients test-slow.c's and test-limits.c's; bytes by the million are the fuzzers'.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/integration/bystander.h"
#include "tests/integration/raw.h"

#define MIB     (UINT64_C(1) << 20)
#define NOBODYS UINT64_C(0x123456789a) /* number of no buffer */

static struct daemon daemon_of_group;
static struct bystander bystander;

static int start(void **state)
{
    static const char *const args[] = { "--memory-limit=256M", "--fake=layout=run:64K,delay=20",
                                        NULL };

    (void)state;
    daemon_start_with(&daemon_of_group, "fake", args);
    bystander_start(&bystander, &daemon_of_group);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    bystander_stop(&bystander);
    assert_int_equal(bystander_blames(&bystander), bystander.ended_in_all);
    daemon_stop(&daemon_of_group);
    return 0;
}

enum kind {
    HELLO,
    ALLOCATE,
    FREE,
    LOOKUP,
    LIST,
    STATUS,
    REGISTER,
    SHARE,
    PUBLISH,
    OPEN,
    NAMES,
    UNPUBLISH,
    KINDS
};

/* Descriptors that belong to it. */
static size_t fds_of(enum kind kind)
{
    return kind == LOOKUP || kind == REGISTER;
}

static size_t craft(enum kind kind, uint64_t id, void *out)
{
    switch (kind) {
    case HELLO:
        return raw_hello(out, id, 1, 1, "hostile");
    case ALLOCATE:
        return raw_allocate(out, id, 4096, 4096);
    case FREE:
        return raw_free(out, id, NOBODYS);
    case LOOKUP:
        return raw_lookup(out, id);
    case LIST:
        return raw_list(out, id, NOBODYS);
    case REGISTER:
        return raw_register(out, id, 4096);
    case SHARE:
        return raw_share(out, id, NOBODYS);
    case PUBLISH:
        return raw_publish(out, id, NOBODYS, "hostile", 0666);
    case OPEN:
        return raw_open(out, id, "hostile", DMABUFD_READ_ONLY);
    case NAMES:
        return raw_names(out, id, "hostile");
    case UNPUBLISH:
        return raw_unpublish(out, id, "hostile");
    default:
        return raw_status(out, id);
    }
}

static int send_random_bytes(void *data)
{
    const char *text = getenv("DMABUFD_TEST_SEED");
    uint64_t state = text ? strtoull(text, NULL, 0) : 20260603;
    unsigned char bytes[PROTO_REQUEST_MAX];

    (void)data;
    for (int i = 0; i < 300; i++) {
        size_t size = 1 + raw_random(&state) % (i % 3 ? 40 : sizeof(bytes));

        for (size_t at = 0; at < size; at++)
            bytes[at] = (unsigned char)raw_random(&state);
        CHECK(offence_ends(&bystander, i % 2, bytes, size, 0));
    }
    return 0;
}

static void random_bytes(void **state)
{
    (void)state;
    bystander_endures(&bystander, send_random_bytes, NULL);
}

static int send_truncated(void *data)
{
    unsigned char bytes[PROTO_REQUEST_MAX];

    (void)data;
    for (enum kind kind = HELLO; kind < KINDS; kind++) {
        size_t size = craft(kind, 77, bytes);

        for (size_t cut = 1; cut < size; cut++)
            CHECK(offence_ends(&bystander, kind != HELLO, bytes, cut, fds_of(kind)));
        bytes[size] = 0;
        CHECK(offence_ends(&bystander, kind != HELLO, bytes, size + 1, fds_of(kind)));
    }
    return 0;
}

static void truncated_and_lengthened(void **state)
{
    (void)state;
    bystander_endures(&bystander, send_truncated, NULL);
}

/* After an answer to a broken HELLO: greeted, or refused, and that is the end. */
static bool is_greeted_or_ends(int sock, const struct raw_reply *first)
{
    if (first->message->body_case == DMABUFD__PROTO__REPLY__BODY_HELLO)
        return raw_works(sock, 12345);
    return first->message->body_case == DMABUFD__PROTO__REPLY__BODY_ERROR && raw_ended(sock);
}

/* A flipped bit can make another good request: then it is answered and the connection goes on. */
static bool is_handled(enum kind kind, const void *bytes, size_t size)
{
    int sock = kind == HELLO ? raw_connect() : raw_greeted();
    struct raw_reply reply;
    bool fine = false;
    int r;

    if (sock < 0)
        return false;
    r = raw_send(sock, bytes, size, STDIN_FILENO, fds_of(kind));
    if (r == 0)
        r = raw_receive(sock, &reply);
    if (r == 0) {
        (*bystander.ended)++;
        fine = true;
    } else if (r == 1) {
        wire_fds_close(&reply.fds);
        fine = kind == HELLO ? is_greeted_or_ends(sock, &reply) : raw_works(sock, 12345);
    }
    close(sock);
    return fine;
}

static int send_flipped(void *data)
{
    unsigned char bytes[PROTO_REQUEST_MAX];

    (void)data;
    for (enum kind kind = HELLO; kind < KINDS; kind++) {
        size_t size = craft(kind, 77, bytes);

        for (size_t bit = 0; bit < size * 8; bit++) {
            bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
            CHECK(is_handled(kind, bytes, size));
            bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
        }
    }
    CHECK(*bystander.ended > 100);
    return 0;
}

static void every_bit_flipped(void **state)
{
    (void)state;
    bystander_endures(&bystander, send_flipped, NULL);
}

static int send_too_long(void *data)
{
    static const size_t sizes[] = { 4097, 4098, 8192, 8193, 65536, 200000 };
    static unsigned char bytes[200000];

    (void)data;
    craft(STATUS, 77, bytes);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        CHECK(offence_ends(&bystander, false, bytes, sizes[i], 0));
        CHECK(offence_ends(&bystander, true, bytes, sizes[i], 0));
        CHECK(offence_ends(&bystander, true, bytes, sizes[i], 1));
    }
    return 0;
}

static void too_long(void **state)
{
    (void)state;
    bystander_endures(&bystander, send_too_long, NULL);
}

static int send_empty(void *data)
{
    static const size_t counts[] = { 1, 2, 4, 5, RAW_FDS_MAX };
    int sock;

    (void)data;
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        CHECK(offence_ends(&bystander, false, "", 0, counts[i]));
        CHECK(offence_ends(&bystander, true, "", 0, counts[i]));
    }
    /* Without descriptors it looks like the end of the connection, and is one. */
    sock = raw_greeted();
    CHECK(sock >= 0 && raw_send(sock, "", 0, -1, 0) == 0 && raw_ended(sock));
    close(sock);
    return 0;
}

static void empty_datagrams(void **state)
{
    (void)state;
    bystander_endures(&bystander, send_empty, NULL);
}

static int send_out_of_order(void *data)
{
    unsigned char bytes[PROTO_REQUEST_MAX];

    (void)data;
    for (enum kind kind = ALLOCATE; kind < KINDS; kind++)
        CHECK(offence_ends(&bystander, false, bytes, craft(kind, 77, bytes), fds_of(kind)));
    CHECK(offence_ends(&bystander, true, bytes, craft(HELLO, 77, bytes), 0));
    return 0;
}

static void before_hello_and_hello_twice(void **state)
{
    (void)state;
    bystander_endures(&bystander, send_out_of_order, NULL);
}

/* Sent twice at once; the first takes at least 140 ms. Return: whether the second ended it. */
static int send_twice(void)
{
    struct raw_reply reply;
    int sock = raw_greeted();
    int r = sock < 0 ? sock : raw_send_allocate(sock, 5, 200 * MIB);

    if (r == 0)
        r = raw_send_allocate(sock, 5, 200 * MIB);
    if (r == 0)
        r = raw_receive(sock, &reply);
    if (r == 1)
        wire_fds_close(&reply.fds);
    close(sock);
    *bystander.ended += r == 0;
    return r;
}

static int send_wrong_ids(void *data)
{
    unsigned char bytes[PROTO_REQUEST_MAX];
    int r = 1;

    (void)data;
    CHECK(offence_ends(&bystander, false, bytes, craft(HELLO, 0, bytes), 0));
    for (enum kind kind = ALLOCATE; kind < KINDS; kind++)
        CHECK(offence_ends(&bystander, true, bytes, craft(kind, 0, bytes), fds_of(kind)));
    /* On a busy machine the first can be done before the second is sent. */
    for (int i = 0; i < 10 && r == 1; i++)
        r = send_twice();
    CHECK(r == 0);
    return 0;
}

static void ids_zero_and_in_flight(void **state)
{
    (void)state;
    bystander_endures(&bystander, send_wrong_ids, NULL);
}

/* @tail behind a good request, or, with @inside, in its body. */
static bool extended_ends(enum kind kind, const char *tail, size_t size, bool inside)
{
    unsigned char bytes[PROTO_REQUEST_MAX];
    size_t at = craft(kind, 77, bytes), length = bytes[2] & 0x80 ? 4 : 3;

    /* Two bytes of id, then tag, of one byte or two, and length of the body. */
    if (inside)
        bytes[length] = (unsigned char)(bytes[length] + size);
    memcpy(bytes + at, tail, size);
    return offence_ends(&bystander, kind != HELLO, bytes, at + size, fds_of(kind));
}

static int send_unknown(void *data)
{
    unsigned char bytes[PROTO_REQUEST_MAX];

    (void)data;
    for (enum kind kind = HELLO; kind < KINDS; kind++) {
        CHECK(extended_ends(kind, "\x78\x01", 2, false)); /* field 15, varint */
        CHECK(extended_ends(kind, "\x78\x01", 2, true));
        CHECK(extended_ends(kind, "\xfa\x01\x00", 3, false)); /* field 31, bytes */
        CHECK(extended_ends(kind, "\xfa\x01\x00", 3, true));
        CHECK(extended_ends(kind, "\x4a\x00", 2, false)); /* the next request to be invented */
    }
    for (unsigned char field = 9; field < 16; field++) {
        const unsigned char unknown[] = { 0x08, 77, (unsigned char)(field << 3 | 2), 0 };

        CHECK(offence_ends(&bystander, false, unknown, sizeof(unknown), 0));
        CHECK(offence_ends(&bystander, true, unknown, sizeof(unknown), 0));
    }
    CHECK(offence_ends(&bystander, true, bytes, craft(STATUS, 77, bytes) - 2, 0));     /* no body */
    CHECK(offence_ends(&bystander, true, bytes + 2, craft(STATUS, 77, bytes) - 2, 0)); /* no id */
    return 0;
}

static void unknown_fields_and_requests(void **state)
{
    (void)state;
    bystander_endures(&bystander, send_unknown, NULL);
}

static int send_replies(void *data)
{
    Dmabufd__Proto__StatusReply status = DMABUFD__PROTO__STATUS_REPLY__INIT;
    Dmabufd__Proto__HelloReply hello = DMABUFD__PROTO__HELLO_REPLY__INIT;
    Dmabufd__Proto__BufferReply buffer = DMABUFD__PROTO__BUFFER_REPLY__INIT;
    proto_reply reply = DMABUFD__PROTO__REPLY__INIT;
    unsigned char bytes[PROTO_REPLY_MAX];

    (void)data;
    reply.id = 77;
    status.clients = 1;
    reply.body_case = DMABUFD__PROTO__REPLY__BODY_STATUS;
    reply.status = &status;
    CHECK(offence_ends(&bystander, true, bytes, (size_t)message_encode_reply(&reply, bytes), 0));
    hello.version = 1;
    reply.body_case = DMABUFD__PROTO__REPLY__BODY_HELLO;
    reply.hello = &hello;
    CHECK(offence_ends(&bystander, true, bytes, (size_t)message_encode_reply(&reply, bytes), 0));
    buffer.buffer = 1;
    buffer.size = 4096;
    reply.body_case = DMABUFD__PROTO__REPLY__BODY_BUFFER;
    reply.buffer = &buffer;
    CHECK(offence_ends(&bystander, true, bytes, (size_t)message_encode_reply(&reply, bytes), 1));
    return 0;
}

static void replies_as_requests(void **state)
{
    (void)state;
    bystander_endures(&bystander, send_replies, NULL);
}

/* ---- understood and refused ---- */

struct bad_hello {
    uint32_t min;
    uint32_t max;
    const char *program;
    enum dmabufd_code code;
    int error;
};

/* Answered with the reason, and then the connection ends. */
static bool is_refused(const struct bad_hello *bad)
{
    unsigned char bytes[PROTO_REQUEST_MAX];
    size_t size = raw_hello(bytes, 7, bad->min, bad->max, bad->program);
    int sock = raw_connect();
    struct raw_reply reply;
    bool refused = sock >= 0 && raw_send(sock, bytes, size, -1, 0) == 0 &&
                   raw_receive(sock, &reply) == 1 &&
                   raw_is_error(&reply, 7, (int)bad->code, bad->error) && raw_ended(sock);

    close(sock);
    return refused;
}

static int say_hello_badly(void *data)
{
    static const struct bad_hello table[] = {
        { 2, 2, "x", DMABUFD_CODE_UNSUPPORTED, EPROTONOSUPPORT },
        { 2, UINT32_MAX, "x", DMABUFD_CODE_UNSUPPORTED, EPROTONOSUPPORT },
        { 0, 0, "x", DMABUFD_CODE_UNSUPPORTED, EPROTONOSUPPORT },
        { UINT32_MAX, 0, "x", DMABUFD_CODE_UNSUPPORTED, EPROTONOSUPPORT },
        { 1, 1, "b\nnew line", DMABUFD_CODE_INVALID, EINVAL },
        { 1, 1, "\x1b[31mcolour", DMABUFD_CODE_INVALID, EINVAL },
        { 1, 1, "d\x7f", DMABUFD_CODE_INVALID, EINVAL },
        { 1, 1, "\xc3\xa9", DMABUFD_CODE_INVALID, EINVAL },
    };
    struct bad_hello too_long = { 1, 1, NULL, DMABUFD_CODE_INVALID, EINVAL };
    unsigned char bytes[PROTO_REQUEST_MAX];
    struct raw_reply reply;
    char name[4001];
    int sock;

    (void)data;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
        CHECK(is_refused(&table[i]));
    memset(name, 'n', sizeof(name));
    too_long.program = name;
    name[4000] = '\0';
    CHECK(is_refused(&too_long));
    name[PROTO_PROGRAM_MAX + 1] = '\0';
    CHECK(is_refused(&too_long));
    /* The most that is allowed. */
    name[PROTO_PROGRAM_MAX] = '\0';
    sock = raw_connect();
    CHECK(raw_send(sock, bytes, raw_hello(bytes, 100, 0, UINT32_MAX, name), -1, 0) == 0);
    CHECK(raw_receive(sock, &reply) == 1 && reply.message->id == 100);
    CHECK(reply.message->body_case == DMABUFD__PROTO__REPLY__BODY_HELLO);
    CHECK(reply.message->hello->version == 1 && raw_works(sock, 101));
    close(sock);
    return 0;
}

static void bad_hellos_are_answered(void **state)
{
    (void)state;
    bystander_endures(&bystander, say_hello_badly, NULL);
    assert_int_equal(daemon_log_count(&daemon_of_group, "colour"), 0);
    assert_int_equal(daemon_log_count(&daemon_of_group, "new line"), 0);
}

/* ---- all at once ---- */

static void many_offenders_at_once(void **state)
{
    static int (*const offences[])(void *data) = { send_random_bytes, send_truncated, send_unknown,
                                                   send_too_long, send_out_of_order };
    size_t count = sizeof(offences) / sizeof(offences[0]);
    pid_t pids[sizeof(offences) / sizeof(offences[0])];

    (void)state;
    bystander_before(&bystander);
    *bystander.ended = 0;
    for (size_t i = 0; i < count; i++)
        pids[i] = spawn_as(i % 2 ? TEST_OTHER_UID : TEST_CLIENT_UID, offences[i], NULL);
    for (int i = 0; i < 20; i++) {
        bystander_check(&bystander);
        bystander_check_alloc(&bystander);
    }
    for (size_t i = 0; i < count; i++)
        assert_int_equal(join(pids[i]), 0);
    bystander.ended_in_all += *bystander.ended;
    bystander_after(&bystander);
}

/* Nobody who can read the log learns where anybody's memory is. */
static void log_tells_no_address(void **state)
{
    (void)state;
    assert_true(bystander.span_count > 1);
    for (size_t i = 0; i < bystander.span_count; i++) {
        uint64_t address = bystander.spans[i].dma_addr;
        char text[32];

        snprintf(text, sizeof(text), "%" PRIx64, address);
        assert_int_equal(daemon_log_count(&daemon_of_group, text), 0);
        snprintf(text, sizeof(text), "%" PRIX64, address);
        assert_int_equal(daemon_log_count(&daemon_of_group, text), 0);
        snprintf(text, sizeof(text), "%" PRIu64, address);
        assert_int_equal(daemon_log_count(&daemon_of_group, text), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_bytes),           cmocka_unit_test(truncated_and_lengthened),
        cmocka_unit_test(every_bit_flipped),      cmocka_unit_test(too_long),
        cmocka_unit_test(empty_datagrams),        cmocka_unit_test(before_hello_and_hello_twice),
        cmocka_unit_test(ids_zero_and_in_flight), cmocka_unit_test(unknown_fields_and_requests),
        cmocka_unit_test(replies_as_requests),    cmocka_unit_test(bad_hellos_are_answered),
        cmocka_unit_test(many_offenders_at_once), cmocka_unit_test(log_tells_no_address),
    };

    return cmocka_run_group_tests_name("hostile", tests, start, stop);
}
