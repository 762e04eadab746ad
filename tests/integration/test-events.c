/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What clients are told when the daemon goes: by itself, and when it dies. The library's part of it
 * is in tests/unit/test-events.c.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/integration/harness.h"
#include "tests/integration/raw.h"

#define MIB         UINT64_C(1048576)
#define PATIENCE_MS 20000
#define BUFFERS     5

static struct daemon daemon_of_test;

static int clean_up(void **state)
{
    (void)state;
    if (daemon_of_test.keeper > 0)
        daemon_kill(&daemon_of_test);
    daemon_of_test.keeper = 0;
    return 0;
}

static void wait_for_event(dmabufd *d, struct dmabufd_event *ret)
{
    struct pollfd wait = { .fd = dmabufd_event_fd(d), .events = POLLIN };
    int r;

    *ret = (struct dmabufd_event)DMABUFD_EVENT_INIT;
    while ((r = dmabufd_dispatch(d, ret)) == 0)
        assert_int_equal(poll(&wait, 1, PATIENCE_MS), 1);
    assert_int_equal(r, 1);
}

static void expect_event(dmabufd *d, enum dmabufd_event_kind kind)
{
    struct dmabufd_event event;

    wait_for_event(d, &event);
    assert_int_equal(event.kind, kind);
    assert_int_equal(event.buffer, 0);
    assert_null(event.data);
}

static void expect_nothing(dmabufd *d)
{
    struct dmabufd_event event = DMABUFD_EVENT_INIT;
    struct pollfd wait = { .fd = dmabufd_event_fd(d), .events = POLLIN };

    assert_int_equal(dmabufd_dispatch(d, &event), 0);
    assert_int_equal(poll(&wait, 1, 0), 0);
}

/* Each buffer but the first, which was freed, once. */
static void expect_revocations(dmabufd *d, dmabufd_buffer *const *buffers)
{
    unsigned int seen = 0;

    for (int n = 1; n < BUFFERS; n++) {
        struct pollfd wait = { .fd = dmabufd_event_fd(d), .events = POLLIN };
        struct dmabufd_event event;

        /* Readable as long as there is something to tell. */
        assert_int_equal(poll(&wait, 1, 0), 1);
        wait_for_event(d, &event);
        assert_int_equal(event.kind, DMABUFD_EVENT_REVOKED);
        for (unsigned int i = 1; i < BUFFERS; i++) {
            if (event.buffer != dmabufd_buffer_id(buffers[i]))
                continue;
            assert_false(seen & 1U << i);
            seen |= 1U << i;
            assert_ptr_equal(event.data, dmabufd_buffer_data(buffers[i]));
            assert_int_equal(event.data_size, dmabufd_buffer_size(buffers[i]));
        }
    }
    assert_int_equal(seen, (1U << BUFFERS) - 2);
}

static void check_revoked(dmabufd *d, const dmabufd_buffer *buffer)
{
    const void *data = dmabufd_buffer_data(buffer);
    struct dmabufd_translation answer;
    uint64_t address, length;

    assert_int_equal(dmabufd_translate(d, data, &address, &length), -ENOENT);
    assert_int_equal(dmabufd_buffer_translate(buffer, 0, &address, &length), -ENOENT);
    assert_int_equal(dmabufd_translate_pointers(d, &data, 1, &answer), 0);
}

static void end_by_signal(dmabufd *d)
{
    (void)d;
    daemon_stop(&daemon_of_test);
    daemon_of_test.keeper = 0;
}

static void end_by_keeper_death(dmabufd *d)
{
    (void)d;
    daemon_kill(&daemon_of_test);
    daemon_of_test.keeper = 0;
}

static void end_by_broker_death(dmabufd *d)
{
    (void)d;
    assert_int_equal(kill(daemon_broker(&daemon_of_test), SIGKILL), 0);
}

static void check_end(void (*end)(dmabufd *d), bool announced)
{
    dmabufd_buffer *buffers[BUFFERS], *another;
    uint64_t address, length;
    dmabufd *d;

    daemon_start(&daemon_of_test, NULL);
    assert_int_equal(dmabufd_connect(&d, NULL), 0);
    expect_nothing(d);
    for (size_t i = 0; i < BUFFERS; i++) {
        assert_int_equal(dmabufd_alloc(d, MIB, 4096, &buffers[i]), 0);
        memset(dmabufd_buffer_data(buffers[i]), (int)i + 1, MIB);
    }
    expect_nothing(d);
    end(d);
    if (announced)
        expect_event(d, DMABUFD_EVENT_ENDING);
    expect_event(d, DMABUFD_EVENT_LOST);
    /* Noticed: from now on nothing translates, whether the program was told of it or not. */
    for (size_t i = 0; i < BUFFERS; i++)
        check_revoked(d, buffers[i]);
    assert_int_equal(dmabufd_free(buffers[0]), -ENOTCONN);
    expect_revocations(d, buffers);
    expect_nothing(d);
    assert_int_equal(dmabufd_alloc(d, MIB, 4096, &another), -ENOTCONN);
    assert_int_equal(((char *)dmabufd_buffer_data(buffers[3]))[MIB - 1], 4);
    assert_int_equal(dmabufd_free(buffers[1]), -ENOTCONN);
    assert_int_equal(dmabufd_translate(d, buffers, &address, &length), -ENOENT);
    dmabufd_disconnect(d);
    if (daemon_of_test.keeper > 0)
        daemon_stop(&daemon_of_test);
    daemon_of_test.keeper = 0;
}

static void stopped(void **state)
{
    (void)state;
    check_end(end_by_signal, true);
}

static void killed(void **state)
{
    (void)state;
    check_end(end_by_keeper_death, false);
}

static void broker_killed(void **state)
{
    (void)state;
    check_end(end_by_broker_death, false);
}

/* The buffers of a heap are told of like others, and the heap can be ended as always. */
static void heaps(void **state)
{
    struct dmabufd_event event;
    uint64_t address, length;
    dmabufd_heap *heap;
    dmabufd *d;
    char *object;

    (void)state;
    daemon_start(&daemon_of_test, NULL);
    assert_int_equal(dmabufd_connect(&d, NULL), 0);
    assert_int_equal(dmabufd_heap_create(d, NULL, &heap), 0);
    object = dmabufd_heap_alloc(heap, 100, 0);
    assert_non_null(object);
    end_by_signal(d);
    expect_event(d, DMABUFD_EVENT_ENDING);
    expect_event(d, DMABUFD_EVENT_LOST);
    wait_for_event(d, &event);
    assert_int_equal(event.kind, DMABUFD_EVENT_REVOKED);
    assert_true(object >= (char *)event.data && object < (char *)event.data + event.data_size);
    assert_int_equal(dmabufd_translate(d, object, &address, &length), -ENOENT);
    assert_int_equal(dmabufd_heap_free(heap, object), 0);
    dmabufd_heap_destroy(heap);
    expect_nothing(d);
    dmabufd_disconnect(d);
}

/* ---- by hand ---- */

/* Return: a socket of a client that asked for these. */
static int greeted(uint64_t features)
{
    Dmabufd__Proto__HelloRequest hello = DMABUFD__PROTO__HELLO_REQUEST__INIT;
    proto_request request = DMABUFD__PROTO__REQUEST__INIT;
    unsigned char bytes[PROTO_REQUEST_MAX];
    static char program[] = "raw";
    struct raw_reply reply;
    int sock = raw_connect();

    assert_true(sock >= 0);
    hello.version_min = hello.version_max = PROTO_VERSION;
    hello.program = program;
    hello.features = features;
    request.id = 1;
    request.body_case = DMABUFD__PROTO__REQUEST__BODY_HELLO;
    request.hello = &hello;
    assert_int_equal(raw_send(sock, bytes, raw_pack(&request, bytes), -1, 0), 0);
    assert_int_equal(raw_receive(sock, &reply), 1);
    assert_int_equal(reply.message->body_case, DMABUFD__PROTO__REPLY__BODY_HELLO);
    assert_int_equal(reply.message->hello->features, features & PROTO_FEATURE_EVENTS);
    return sock;
}

static bool is_ending(const struct raw_reply *reply)
{
    return reply->message->id == 0 &&
           reply->message->body_case == DMABUFD__PROTO__REPLY__BODY_EVENT &&
           reply->message->event->kind == DMABUFD__PROTO__EVENT_KIND__EVENT_ENDING &&
           reply->fds.count == 0;
}

/* Only who asked is told, whatever else he asked for; the replies come first, and nothing after. */
static void only_who_asked(void **state)
{
    struct raw_reply reply;
    int deaf, listening;

    (void)state;
    daemon_start(&daemon_of_test, NULL);
    deaf = greeted(~PROTO_FEATURE_EVENTS);
    listening = greeted(UINT64_MAX);
    assert_true(raw_works(deaf, 2));
    for (uint64_t id = 2; id < 5; id++)
        assert_int_equal(raw_send_status(listening, id), 0);
    assert_int_equal(raw_receive(listening, &reply), 1);
    assert_true(raw_works(deaf, 3));
    end_by_signal(NULL);
    assert_true(raw_ended(deaf));
    /* Those that were answered before, in any number. */
    assert_int_equal(raw_receive(listening, &reply), 1);
    while (reply.message->id != 0)
        assert_int_equal(raw_receive(listening, &reply), 1);
    assert_true(is_ending(&reply));
    assert_true(raw_ended(listening));
    close(deaf);
    close(listening);
}

/* One that never reads has replies waiting in the broker; nobody waits for him, and others are told. */
static void one_that_does_not_read(void **state)
{
    struct raw_reply reply;
    int slow, listening;

    (void)state;
    daemon_start(&daemon_of_test, NULL);
    slow = greeted(PROTO_FEATURE_EVENTS);
    listening = greeted(PROTO_FEATURE_EVENTS);
    for (uint64_t id = 2; id < 8; id++)
        assert_int_equal(raw_send_allocate(slow, id, 4096), 0);
    assert_true(raw_works(listening, 2));
    end_by_signal(NULL);
    assert_int_equal(raw_receive(listening, &reply), 1);
    assert_true(is_ending(&reply));
    assert_true(raw_ended(listening));
    close(slow);
    close(listening);
}

/* A broker that does not do as it is told does not keep the daemon from ending. */
static void broker_that_does_not_end(void **state)
{
    int status, sock;
    pid_t broker;

    (void)state;
    daemon_start(&daemon_of_test, NULL);
    sock = greeted(PROTO_FEATURE_EVENTS);
    broker = daemon_broker(&daemon_of_test);
    assert_true(broker > 0);
    assert_int_equal(kill(broker, SIGSTOP), 0);
    assert_int_equal(kill(daemon_of_test.keeper, SIGTERM), 0);
    assert_true(raw_ended(sock));
    assert_int_equal(waitpid(daemon_of_test.keeper, &status, 0), daemon_of_test.keeper);
    assert_int_equal(status, 0);
    assert_int_equal(kill(broker, 0), -1);
    assert_int_equal(daemon_log_count(&daemon_of_test, "was told to end and did not"), 1);
    /* Only its directory is left. */
    daemon_of_test.keeper = 0;
    daemon_kill(&daemon_of_test);
    close(sock);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(stopped, clean_up),
        cmocka_unit_test_teardown(killed, clean_up),
        cmocka_unit_test_teardown(broker_killed, clean_up),
        cmocka_unit_test_teardown(heaps, clean_up),
        cmocka_unit_test_teardown(only_who_asked, clean_up),
        cmocka_unit_test_teardown(one_that_does_not_read, clean_up),
        cmocka_unit_test_teardown(broker_that_does_not_end, clean_up),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
