/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * daemon/broker/session.h: who is let in, what ends a connection and what only is refused, and how
 * much of a client's work is taken on before it reads. What becomes of a question is
 * test-upstream.c's.
 */
#include "tests/unit/cmocka-all.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "daemon/broker/session.h"
#include "tests/unit/broker-rig.h"
#include "tests/unit/support.h"

static struct raw_reply reply;

static bool asks_nothing(void)
{
    struct link_request request;

    return !broker_rig_asked(&request, NULL);
}

static int send_hello(int sock, uint32_t version, const char *program)
{
    unsigned char bytes[PROTO_REQUEST_MAX];

    return raw_send(sock, bytes, raw_hello(bytes, 1, version, version, program), -1, 0);
}

static unsigned int sessions(void)
{
    broker_rig_pump();
    return broker_rig.broker.sessions.count;
}

/* ---- HELLO ---- */

static void hello_is_answered_and_the_keeper_told(void **state)
{
    const Dmabufd__Proto__HelloReply *hello;
    struct link_request request;
    int sock = broker_rig_connect();

    (void)state;
    /* Who has not said HELLO is nobody's business. */
    assert_true(asks_nothing());
    assert_int_equal(send_hello(sock, 1, "unit"), 0);
    broker_rig_reply(sock, &reply);
    assert_int_equal(reply.message->id, 1);
    assert_int_equal(reply.message->body_case, DMABUFD__PROTO__REPLY__BODY_HELLO);
    hello = reply.message->hello;
    assert_int_equal(hello->version, 1);
    assert_string_equal(hello->backend, "fake");
    assert_string_equal(hello->backend_reason, "a test");
    assert_int_equal(hello->n_page_sizes, 2);
    assert_int_equal(hello->page_sizes[1], 2097152);
    assert_int_equal(hello->max_in_flight, PROTO_IN_FLIGHT_MAX);
    assert_int_equal(hello->max_buffers, 77);
    assert_int_equal(hello->max_size, UINT64_C(1) << 30);
    assert_true(broker_rig_asked(&request, NULL));
    assert_int_equal(request.op, LINK_CLIENT_NEW);
    assert_int_equal(request.client, hello->client);
    /* As the kernel says, not the client. */
    assert_int_equal(request.u.peer.pid, getpid());
    assert_int_equal(request.u.peer.uid, getuid());
    assert_int_equal(request.u.peer.gid, getgid());
    close(sock);
    broker_rig_expect(LINK_CLIENT_GONE, request.client);
    assert_int_equal(sessions(), 0);
}

/* Told why; what was sent behind it is not even looked at. */
static void refused_hello_is_the_last(void **state)
{
    static const struct {
        uint32_t version;
        const char *program;
        int code, error;
    } table[] = {
        { 2, "unit", DMABUFD_CODE_UNSUPPORTED, EPROTONOSUPPORT },
        { 1, "two\nlines", DMABUFD_CODE_INVALID, EINVAL },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        int sock = broker_rig_connect();

        assert_int_equal(send_hello(sock, table[i].version, table[i].program), 0);
        broker_rig_reply(sock, &reply);
        assert_true(raw_is_error(&reply, 1, table[i].code, table[i].error));
        assert_true(raw_ended(sock));
        close(sock);
        sock = broker_rig_connect();
        assert_int_equal(send_hello(sock, table[i].version, table[i].program), 0);
        assert_int_equal(send_hello(sock, 1, "unit"), 0);
        assert_int_equal(raw_send_status(sock, 2), 0);
        assert_int_equal(sessions(), 0);
        close(sock);
        /* The keeper never heard of them. */
        assert_true(asks_nothing());
    }
}

/* ---- how many ---- */

static void one_user_too_many(void **state)
{
    int admitted[8], told[SESSION_REFUSED_MAX], sock;

    (void)state;
    for (size_t i = 0; i < 8; i++)
        admitted[i] = broker_rig_greeted(NULL);
    /* Some are kept to be told why, the next are not. */
    for (size_t i = 0; i < SESSION_REFUSED_MAX; i++)
        told[i] = broker_rig_connect();
    sock = broker_rig_connect();
    assert_true(raw_ended(sock));
    close(sock);
    /* Room again, which those who were refused do not take. */
    close(admitted[0]);
    broker_rig_pump();
    assert_false(asks_nothing());
    admitted[0] = broker_rig_greeted(NULL);
    for (size_t i = 0; i < SESSION_REFUSED_MAX; i++) {
        assert_int_equal(send_hello(told[i], 1, "unit"), 0);
        broker_rig_reply(told[i], &reply);
        assert_true(raw_is_error(&reply, 1, DMABUFD_CODE_LIMIT, EUSERS));
        assert_true(raw_ended(told[i]));
        close(told[i]);
    }
    assert_true(asks_nothing());
    for (size_t i = 0; i < 8; i++)
        close(admitted[i]);
    assert_int_equal(sessions(), 0);
}

static void too_many_of_all(void **state)
{
    int admitted[2], sock;

    (void)state;
    broker_rig.broker.welcome.max_clients = 2;
    for (size_t i = 0; i < 2; i++)
        admitted[i] = broker_rig_greeted(NULL);
    sock = broker_rig_connect();
    assert_int_equal(send_hello(sock, 1, "unit"), 0);
    broker_rig_reply(sock, &reply);
    assert_true(raw_is_error(&reply, 1, DMABUFD_CODE_LIMIT, EUSERS));
    assert_true(raw_ended(sock));
    close(sock);
    for (size_t i = 0; i < 2; i++)
        close(admitted[i]);
}

static void who_says_nothing_is_swept_out(void **state)
{
    int greeted = broker_rig_greeted(NULL), silent = broker_rig_connect(), late;

    (void)state;
    sessions_sweep(&broker_rig.broker);
    late = broker_rig_connect();
    assert_int_equal(sessions(), 3);
    sessions_sweep(&broker_rig.broker);
    assert_true(raw_ended(silent));
    assert_int_equal(sessions(), 2);
    assert_true(broker_rig_silent(late));
    for (int i = 0; i < 3; i++)
        sessions_sweep(&broker_rig.broker);
    assert_true(raw_ended(late));
    assert_true(broker_rig_silent(greeted));
    assert_true(asks_nothing());
    close(greeted);
    close(silent);
    close(late);
    assert_int_equal(sessions(), 0);
}

/* ---- malformed ---- */

static const struct {
    const char *bytes;
    size_t size, fds;
    bool greeted;
} malformed[] = {
    { "x", 1, 0, false },                /* no message */
    { "\x08\x05\x3a", 3, 0, true },      /* cut off */
    { "\x08\x05", 2, 0, true },          /* no body */
    { "\x3a\x00", 2, 0, true },          /* no id */
    { "\x08\x05\x3a\x00", 4, 0, false }, /* a request before HELLO */
    { "\x08\x05\x3a\x00", 4, 1, true },  /* a descriptor where none belongs */
    { "\x08\x05\x2a\x00", 4, 0, true },  /* none where one belongs */
    { "\x08\x05\x2a\x00", 4, 2, true },  /* one too many */
    { "\x08\x05\x2a\x00", 4, 5, true },  /* more than any message has */
    { "", 0, 1, true },                  /* nothing but a descriptor */
};

static void malformed_ends_the_connection_and_is_noted(void **state)
{
    const size_t count = sizeof(malformed) / sizeof(malformed[0]);
    const struct offenders *offenders = &broker_rig.broker.offenders;
    int bystander = broker_rig_greeted(NULL);

    (void)state;
    for (size_t i = 0; i < count; i++) {
        uint64_t client = 0;
        int sock = malformed[i].greeted ? broker_rig_greeted(&client) : broker_rig_connect();

        assert_int_equal(raw_send(sock, malformed[i].bytes, malformed[i].size, STDIN_FILENO,
                                  malformed[i].fds),
                         0);
        assert_int_equal(sessions(), 1);
        assert_true(raw_ended(sock));
        close(sock);
        if (malformed[i].greeted)
            broker_rig_expect(LINK_CLIENT_GONE, client);
        assert_true(asks_nothing());
    }
    /* Each once: the first in full, the rest counted. */
    assert_int_equal(offenders->count, 1);
    assert_int_equal(offenders->table[0].uid, getuid());
    assert_int_equal(offenders->table[0].more, count - 1);
    assert_true(broker_rig_silent(bystander));
    close(bystander);
}

static void too_long_ends_the_connection(void **state)
{
    unsigned char bytes[PROTO_REQUEST_MAX + 1] = { 0 };
    int sock = broker_rig_greeted(NULL);

    (void)state;
    assert_int_equal(raw_send(sock, bytes, sizeof(bytes), -1, 0), 0);
    assert_int_equal(sessions(), 0);
    assert_true(raw_ended(sock));
    assert_int_equal(broker_rig.broker.offenders.count, 1);
    close(sock);
}

static void leaving_is_no_offence(void **state)
{
    int sock = broker_rig_greeted(NULL);

    (void)state;
    close(sock);
    assert_int_equal(sessions(), 0);
    assert_int_equal(broker_rig.broker.offenders.count, 0);
}

/* Our own shortage is not the client's fault. */
static void descriptors_that_do_not_fit(void **state)
{
    int sock = broker_rig_greeted(NULL);
    uint64_t saved;

    (void)state;
    assert_int_equal(raw_send_lookup(sock, 2, STDIN_FILENO), 0);
    saved = support_leave_room(0);
    broker_rig_pump();
    support_restore_room(saved);
    broker_rig_reply(sock, &reply);
    assert_true(raw_is_error(&reply, 2, DMABUFD_CODE_LIMIT, EMFILE));
    assert_true(asks_nothing());
    assert_true(broker_rig_silent(sock));
    close(sock);
}

/* ---- how much ---- */

/* So many of @count requests went on to the keeper. @tags: of these. */
static size_t arrived(uint64_t *tags, size_t count)
{
    struct link_request request;
    size_t n = 0;

    while (n < count && broker_rig_asked(&request, NULL))
        tags[n++] = request.tag;
    return n;
}

static void so_many_are_under_way(void **state)
{
    uint64_t tags[PROTO_IN_FLIGHT_MAX + 10];
    struct link_reply answer = { .op = LINK_STATUS };
    int sock = broker_rig_greeted(NULL);

    (void)state;
    for (uint64_t id = 2; id < PROTO_IN_FLIGHT_MAX + 12; id++)
        assert_int_equal(raw_send_status(sock, id), 0);
    assert_int_equal(arrived(tags, PROTO_IN_FLIGHT_MAX + 10), PROTO_IN_FLIGHT_MAX);
    /* One answered, one more. */
    answer.tag = tags[7];
    broker_rig_answer(&answer, -1, 0);
    broker_rig_reply(sock, &reply);
    assert_int_equal(reply.message->id, 9);
    assert_int_equal(arrived(tags, 10), 1);
    for (size_t i = 0; i < 9; i++) {
        answer.tag = tags[0];
        broker_rig_answer(&answer, -1, 0);
        assert_int_equal(arrived(tags, 10), 1);
    }
    assert_int_equal(arrived(tags, 10), 0);
    close(sock);
}

/* Answers that bring descriptors: fewer, and those that the client does not read count on. */
static void so_many_bring_descriptors(void **state)
{
    uint64_t tags[16];
    struct link_reply answer = { .op = LINK_ALLOC };
    int sock = broker_rig_greeted(NULL);

    (void)state;
    for (uint64_t id = 2; id < 12; id++)
        assert_int_equal(raw_send_allocate(sock, id, 4096), 0);
    assert_int_equal(arrived(tags, 10), SESSION_FDS_MAX);
    /* The first reply goes out and the client has not read it; the others have to wait for that. */
    for (size_t i = 0; i < SESSION_FDS_MAX; i++) {
        answer.tag = tags[i];
        broker_rig_answer(&answer, STDIN_FILENO, 1);
    }
    assert_int_equal(arrived(tags, 10), 1);
    answer.tag = tags[0];
    broker_rig_answer(&answer, STDIN_FILENO, 1);
    assert_int_equal(arrived(tags, 10), 0);
    for (uint64_t id = 2; id < 7; id++) {
        broker_rig_reply(sock, &reply);
        assert_int_equal(reply.message->id, id);
        assert_int_equal(reply.fds.count, 1);
        wire_fds_close(&reply.fds);
    }
    assert_int_equal(arrived(tags, 10), SESSION_FDS_MAX);
    close(sock);
}

/* One whose answer brings up to four counts twice, and waits where there is room for one only. */
static void chunks_take_two_places(void **state)
{
    unsigned char bytes[PROTO_REQUEST_MAX];
    uint64_t tags[16], client;
    struct link_reply answer = { .op = LINK_ALLOC };
    int sock = broker_rig_greeted(&client);
    const struct session *session = slots_get(&broker_rig.broker.sessions, client);
    struct link_request asked;

    (void)state;
    for (uint64_t id = 2; id < 5; id++)
        assert_int_equal(raw_send_allocate(sock, id, 4096), 0);
    assert_int_equal(raw_send(sock, bytes, raw_chunks(bytes, 5, 42, 8), -1, 0), 0);
    assert_int_equal(raw_send_status(sock, 6), 0);
    assert_int_equal(arrived(tags, 10), 3);
    assert_int_equal(session->in_flight_pairs, 3);
    /* The first answer is on its way to the client and leaves room, and then it is the turn of the
     * question that waited, not of what came behind it. */
    answer.tag = tags[0];
    broker_rig_answer(&answer, STDIN_FILENO, 1);
    assert_true(broker_rig_asked(&asked, NULL));
    assert_int_equal(asked.op, LINK_CHUNKS);
    assert_int_equal(asked.u.chunks.buffer, 42);
    assert_int_equal(asked.u.chunks.first, 8);
    assert_int_equal(session->in_flight_pairs, SESSION_FDS_MAX);
    assert_true(asks_nothing());
    /* Four descriptors that the client does not read yet are two pairs, too. */
    answer = (struct link_reply){ .op = LINK_CHUNKS, .tag = asked.tag };
    broker_rig_answer(&answer, STDIN_FILENO, 4);
    assert_int_equal(session->in_flight_pairs, 2);
    assert_int_equal(channel_queued_pairs(session->channel), 2);
    assert_true(asks_nothing());
    broker_rig_reply(sock, &reply);
    assert_int_equal(reply.message->id, 2);
    wire_fds_close(&reply.fds);
    broker_rig_reply(sock, &reply);
    assert_int_equal(reply.message->id, 5);
    assert_int_equal(reply.message->body_case, DMABUFD__PROTO__REPLY__BODY_CHUNKS);
    assert_int_equal(reply.fds.count, 4);
    wire_fds_close(&reply.fds);
    broker_rig_expect(LINK_STATUS, client);
    close(sock);
}

/* Whoever leaves takes along what it could not ask yet. */
static void what_waits_ends_with_its_client(void **state)
{
    unsigned char bytes[PROTO_REQUEST_MAX];
    uint64_t tags[16], client;
    int sock = broker_rig_greeted(&client);

    (void)state;
    for (uint64_t id = 2; id < 5; id++)
        assert_int_equal(raw_send_allocate(sock, id, 4096), 0);
    assert_int_equal(raw_send(sock, bytes, raw_chunks(bytes, 5, 42, 0), -1, 0), 0);
    assert_int_equal(arrived(tags, 10), 3);
    close(sock);
    broker_rig_expect(LINK_CLIENT_GONE, client);
    assert_true(asks_nothing());
    assert_int_equal(sessions(), 0);
}

/* Replies that wait for the client to read, here beyond what its socket takes, count as well. */
static void who_does_not_read_is_not_read(void **state)
{
    uint64_t tags[PROTO_IN_FLIGHT_MAX], client, id = 2;
    int sock = broker_rig_greeted(&client);
    const struct session *session = slots_get(&broker_rig.broker.sessions, client);
    size_t n = 1;

    (void)state;
    for (int i = 0; n > 0 && i < 1000; i++) {
        while (id < 4000 && raw_send_status(sock, id) == 0)
            id++;
        n = arrived(tags, PROTO_IN_FLIGHT_MAX);
        for (size_t at = 0; at < n; at++) {
            struct link_reply answer = { .op = LINK_STATUS, .tag = tags[at] };

            broker_rig_answer(&answer, -1, 0);
        }
    }
    assert_int_equal(n, 0);
    assert_int_equal(session->in_flight, 0);
    assert_int_equal(channel_queued(session->channel), PROTO_IN_FLIGHT_MAX);
    /* It reads: no reply was lost, and when the kernel sees room for more, on it goes. */
    for (uint64_t i = 2; arrived(tags, PROTO_IN_FLIGHT_MAX) == 0; i++) {
        broker_rig_reply(sock, &reply);
        assert_int_equal(reply.message->id, i);
    }
    close(sock);
}

/* Whoever is full is not read; others are, and its end is noticed all the same. */
static void full_is_only_its_own_matter(void **state)
{
    uint64_t tags[PROTO_IN_FLIGHT_MAX + 1], client, other_client;
    int full = broker_rig_greeted(&client), other = broker_rig_greeted(&other_client);

    (void)state;
    for (uint64_t id = 2; id < PROTO_IN_FLIGHT_MAX + 12; id++)
        assert_int_equal(raw_send_status(full, id), 0);
    assert_int_equal(arrived(tags, PROTO_IN_FLIGHT_MAX), PROTO_IN_FLIGHT_MAX);
    assert_int_equal(raw_send_status(other, 2), 0);
    broker_rig_expect(LINK_STATUS, other_client);
    close(full);
    broker_rig_expect(LINK_CLIENT_GONE, client);
    assert_int_equal(sessions(), 1);
    assert_int_equal(broker_rig.broker.asked.count, 1);
    close(other);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, broker_rig_setup, broker_rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(hello_is_answered_and_the_keeper_told),
        TEST(refused_hello_is_the_last),
        TEST(one_user_too_many),
        TEST(too_many_of_all),
        TEST(who_says_nothing_is_swept_out),
        TEST(malformed_ends_the_connection_and_is_noted),
        TEST(too_long_ends_the_connection),
        TEST(leaving_is_no_offence),
        TEST(descriptors_that_do_not_fit),
        TEST(so_many_are_under_way),
        TEST(so_many_bring_descriptors),
        TEST(chunks_take_two_places),
        TEST(what_waits_ends_with_its_client),
        TEST(who_does_not_read_is_not_read),
        TEST(full_is_only_its_own_matter),
    };

    return cmocka_run_group_tests_name("session", tests, NULL, NULL);
}
