/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The library in programs of many threads, with the real daemon: each gets its own answers, and all
 * are told when the connection ends. Worth most under the thread sanitizer.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/integration/harness.h"
#include "tests/integration/players.h"
#include "tests/integration/ready.h"

#define STEPS  300U
#define ROUNDS 12
#define FORKS  12
#define MIB    (UINT64_C(1) << 20)
#define HUGE   (2 * MIB)
/* Pages in the pool, and on the host for its test to be worth something. */
#define POOL  40U
#define NEEDS 64U

static struct daemon daemon_of_test;

static int clean_up(void **state)
{
    (void)state;
    if (daemon_of_test.keeper > 0)
        daemon_kill(&daemon_of_test);
    daemon_of_test.keeper = 0;
    return 0;
}

static void finish(const struct leftovers *before)
{
    leftovers_settle(&daemon_of_test, before);
    daemon_stop(&daemon_of_test);
}

/* ---- one connection ---- */

static void play_on_one(struct stage *stage, unsigned int steps)
{
    struct dmabufd_buffer_info *list;
    dmabufd *d;
    size_t count;

    assert_int_equal(dmabufd_connect(&d, NULL), 0);
    stage_init(stage, d, steps);
    assert_int_equal(together(PLAYERS, play, stage), 0);
    assert_int_equal(dmabufd_list(d, &list, &count), 0);
    assert_int_equal(count, 0);
    free(list);
    stage_deinit(stage);
    dmabufd_disconnect(d);
}

static void share_a_connection(void **state)
{
    struct leftovers before;
    struct stage stage;

    (void)state;
    daemon_start(&daemon_of_test, NULL);
    leftovers_read(&daemon_of_test, &before);
    play_on_one(&stage, STEPS);
    finish(&before);
}

/* Allocations take long enough for later questions to be answered first. */
static void get_answers_out_of_order(void **state)
{
    static const char *const args[] = { "--fake=delay=1,layout=run:8K", NULL };
    struct leftovers before;
    struct stage stage;

    (void)state;
    daemon_start_with(&daemon_of_test, "fake", args);
    leftovers_read(&daemon_of_test, &before);
    play_on_one(&stage, STEPS / 2);
    assert_true(atomic_load(&stage.overtaken) > 0);
    finish(&before);
}

/* ---- memory out of the pool ---- */

/* Sizes that the pool has no file of are put together. */
static int allocate_from_pool(dmabufd *d, uint64_t size, uint64_t page_size, dmabufd_buffer **ret)
{
    static const struct dmabufd_constraints few_segments = { .max_segments = 64 };

    return dmabufd_alloc_constrained(d, size, page_size, &few_segments, ret);
}

/* Huge pages are few: smaller buffers, as all of a player's slots are filled at times. */
static int play_for_small_stakes(void *data)
{
    struct stage *stage = data;
    unsigned int me = atomic_fetch_add(&stage->seats, 1);
    uint64_t size = (1 + me % 3) * HUGE;

    for (unsigned int i = 0; i < stage->steps; i++) {
        dmabufd_buffer *buffer, *second;
        char *bytes;

        CHECK(stage->allocate(stage->d, size, HUGE, &buffer) == 0);
        CHECK(dmabufd_buffer_size(buffer) == size);
        CHECK(ledger_enter(&stage->ledger, buffer));
        if (dmabufd_buffer_chunk_count(buffer) > 1)
            atomic_fetch_add(&stage->assembled, 1);
        bytes = dmabufd_buffer_data(buffer);
        for (uint64_t at = 0; at < size; at += 4096)
            CHECK(bytes[at] == 0);
        memset(bytes, (int)me + 1, size);
        CHECK(dmabufd_lookup(stage->d, dmabufd_buffer_fd(buffer), &second) == 0);
        CHECK(dmabufd_buffer_id(second) == dmabufd_buffer_id(buffer));
        CHECK(memcmp(dmabufd_buffer_data(second), bytes, size) == 0);
        CHECK(dmabufd_free(second) == 0);
        for (uint64_t at = 0; at < size; at += 4096)
            CHECK(bytes[at] == (char)(me + 1));
        CHECK(ledger_strike(&stage->ledger, buffer));
        CHECK(dmabufd_free(buffer) == 0);
    }
    return 0;
}

static void draw_from_the_pool(void **state)
{
    static const char *const args[] = { "--pool=2M:40", NULL };
    struct dmabufd_pool_set set;
    struct leftovers before;
    struct stage stage;
    dmabufd *d;

    (void)state;
    if (huge_pages_free(HUGE) < NEEDS)
        skip();
    daemon_start(&daemon_of_test, args);
    assert_int_equal(dmabufd_connect(&d, NULL), 0);
    ready_await(d);
    leftovers_read(&daemon_of_test, &before);
    stage_init(&stage, d, 12);
    stage.allocate = allocate_from_pool;
    assert_int_equal(together(PLAYERS, play_for_small_stakes, &stage), 0);
    stage_deinit(&stage);
    set = ready_look(d);
    assert_true(set.grants > 0 && atomic_load(&stage.assembled) > 0);
    ready_await(d);
    dmabufd_disconnect(d);
    finish(&before);
}

/* ---- connections that come and go ---- */

struct traffic {
    dmabufd *common;        /* used by all */
    dmabufd_buffer *buffer; /* through it, all the time */
    _Atomic unsigned int seats;
    _Atomic unsigned int busy; /* that have not finished */
};

static int check_common(struct traffic *traffic)
{
    uint64_t address, length, want;

    CHECK(dmabufd_buffer_translate(traffic->buffer, 0, &want, &length) == 0);
    CHECK(dmabufd_translate(traffic->common, dmabufd_buffer_data(traffic->buffer), &address,
                            &length) == 0);
    CHECK(address == want);
    return 0;
}

/* Through a connection of its own. */
static int visit(struct traffic *traffic, unsigned int round)
{
    dmabufd_buffer *buffer[3], *looked_up;
    uint64_t address, length;
    dmabufd *d;

    CHECK(dmabufd_connect(&d, NULL) == 0);
    for (uint64_t i = 0; i < 3; i++) {
        CHECK(dmabufd_alloc(d, 4096 * (i + 1), 4096, &buffer[i]) == 0);
        CHECK(dmabufd_buffer_size(buffer[i]) == 4096 * (i + 1));
    }
    CHECK(dmabufd_lookup(d, dmabufd_buffer_fd(traffic->buffer), &looked_up) == 0);
    CHECK(dmabufd_buffer_id(looked_up) == dmabufd_buffer_id(traffic->buffer));
    CHECK(memcmp(dmabufd_buffer_data(looked_up), "common", 7) == 0);
    CHECK(dmabufd_translate(d, dmabufd_buffer_data(traffic->buffer), &address, &length) == -ENOENT);
    CHECK(dmabufd_translate(traffic->common, dmabufd_buffer_data(buffer[1]), &address, &length) ==
          -ENOENT);
    CHECK(check_common(traffic) == 0);
    for (unsigned int i = 0; i < round % 4 && i < 3; i++)
        CHECK(dmabufd_free(buffer[i]) == 0);
    dmabufd_disconnect(d);
    return 0;
}

/* The child of a process whose other threads are in the middle of it. */
static int be_a_child(struct traffic *traffic, int fd)
{
    struct dmabufd_event event = DMABUFD_EVENT_INIT;
    struct dmabufd_status status;
    dmabufd_buffer *buffer;
    dmabufd *d;

    CHECK(dmabufd_get_status(traffic->common, &status) == -ENOTCONN);
    CHECK(dmabufd_dispatch(traffic->common, &event) == -ENOTCONN);
    CHECK(memcmp(dmabufd_buffer_data(traffic->buffer), "common", 7) == 0);
    dmabufd_disconnect(traffic->common);
    CHECK(dmabufd_connect(&d, NULL) == 0);
    CHECK(dmabufd_lookup(d, fd, &buffer) == 0);
    CHECK(memcmp(dmabufd_buffer_data(buffer), "common", 7) == 0);
    dmabufd_disconnect(d);
    return 0;
}

static int fork_often(struct traffic *traffic)
{
    for (unsigned int i = 0; i < FORKS; i++) {
        int fd = fcntl(dmabufd_buffer_fd(traffic->buffer), F_DUPFD_CLOEXEC, 0);
        pid_t child;

        CHECK(fd >= 0);
        child = fork();
        CHECK(child >= 0);
        if (child == 0)
            _exit(be_a_child(traffic, fd));
        CHECK(join(child) == 0);
        CHECK(close(fd) == 0);
        CHECK(check_common(traffic) == 0);
    }
    return 0;
}

/* Nothing happens to the connection, however much is said on it. */
static int dispatch_all_the_time(struct traffic *traffic)
{
    struct pollfd wait = { .fd = dmabufd_event_fd(traffic->common), .events = POLLIN };
    struct dmabufd_event event = DMABUFD_EVENT_INIT;

    CHECK(wait.fd >= 0);
    while (atomic_load(&traffic->busy) > 1) {
        CHECK(poll(&wait, 1, 10) >= 0);
        CHECK(dmabufd_dispatch(traffic->common, &event) == 0);
        CHECK(dmabufd_event_fd(traffic->common) == wait.fd);
    }
    return 0;
}

static int ask_and_allocate(struct traffic *traffic)
{
    for (unsigned int i = 0; i < 20 * ROUNDS; i++) {
        struct dmabufd_status status;
        dmabufd_buffer *buffer;

        CHECK(dmabufd_get_status(traffic->common, &status) == 0 && status.clients >= 1);
        CHECK(dmabufd_alloc(traffic->common, 4096, 4096, &buffer) == 0);
        CHECK(check_common(traffic) == 0);
        CHECK(dmabufd_free(buffer) == 0);
    }
    return 0;
}

static int take_part(struct traffic *traffic)
{
    switch (atomic_fetch_add(&traffic->seats, 1)) {
    case 0:
        return dispatch_all_the_time(traffic);
    case 1:
        return fork_often(traffic);
    case 2:
    case 3:
        return ask_and_allocate(traffic);
    default:
        break;
    }
    for (unsigned int round = 0; round < ROUNDS; round++)
        CHECK(visit(traffic, round) == 0);
    return 0;
}

static int take_part_to_the_end(void *data)
{
    struct traffic *traffic = data;
    int status = take_part(traffic);

    atomic_fetch_sub(&traffic->busy, 1);
    return status;
}

static void come_and_go(void **state)
{
    struct traffic traffic = { .busy = PLAYERS };
    struct leftovers before;

    (void)state;
    daemon_start(&daemon_of_test, NULL);
    leftovers_read(&daemon_of_test, &before);
    assert_int_equal(dmabufd_connect(&traffic.common, NULL), 0);
    assert_int_equal(dmabufd_alloc(traffic.common, MIB, 4096, &traffic.buffer), 0);
    memcpy(dmabufd_buffer_data(traffic.buffer), "common", 7);
    assert_int_equal(together(PLAYERS, take_part_to_the_end, &traffic), 0);
    dmabufd_disconnect(traffic.common);
    finish(&before);
}

/* ---- the end of the daemon ---- */

#define LASTING  6U /* buffers that are there to the end */
#define HEARERS  2U
#define SPEAKERS (PLAYERS - HEARERS)

struct ending {
    dmabufd *d;
    dmabufd_buffer *lasting[LASTING];
    _Atomic unsigned int seats;
    _Atomic unsigned int calls; /* that were answered */
    _Atomic unsigned int speaking;
    _Atomic unsigned int told[DMABUFD_EVENT_REVOKED + 1];
    _Atomic unsigned int revoked[LASTING];
    void (*end)(void);
};

static void note(struct ending *ending, const struct dmabufd_event *event)
{
    atomic_fetch_add(&ending->told[event->kind], 1);
    for (unsigned int i = 0; i < LASTING; i++) {
        if (event->kind == DMABUFD_EVENT_REVOKED &&
            event->buffer == dmabufd_buffer_id(ending->lasting[i]))
            atomic_fetch_add(&ending->revoked[i], 1);
    }
}

/* Once all others have seen the end, there is nothing to wait for. */
static int hear(struct ending *ending)
{
    struct pollfd wait = { .fd = dmabufd_event_fd(ending->d), .events = POLLIN };
    struct dmabufd_event event = DMABUFD_EVENT_INIT;
    bool last;
    int r;

    CHECK(wait.fd >= 0);
    do {
        last = atomic_load(&ending->speaking) == 0;
        CHECK(poll(&wait, 1, last ? 0 : 10) >= 0);
        while ((r = dmabufd_dispatch(ending->d, &event)) > 0)
            note(ending, &event);
        CHECK(r == 0);
    } while (!last);
    return 0;
}

/* Until the end, which is not told in any other way, to whatever call. */
static int speak(struct ending *ending)
{
    dmabufd_buffer *buffer;
    struct dmabufd_status status;
    int r;

    for (;;) {
        r = dmabufd_get_status(ending->d, &status);
        if (r == 0)
            r = dmabufd_alloc(ending->d, 4096, 4096, &buffer);
        if (r == 0)
            r = dmabufd_free(buffer);
        if (r < 0 && r != -ESHUTDOWN)
            break;
        atomic_fetch_add(&ending->calls, 1);
    }
    CHECK(r == -ENOTCONN);
    CHECK(dmabufd_alloc(ending->d, 4096, 4096, &buffer) == -ENOTCONN);
    return 0;
}

static int live_through_it(void *data)
{
    struct ending *ending = data;
    unsigned int seat = atomic_fetch_add(&ending->seats, 1);
    int status;

    if (seat == PLAYERS) {
        while (atomic_load(&ending->calls) < 100)
            usleep(100);
        ending->end();
        return 0;
    }
    if (seat < HEARERS)
        return hear(ending);
    status = speak(ending);
    atomic_fetch_sub(&ending->speaking, 1);
    return status;
}

static void check_end(void (*end)(void), unsigned int announced)
{
    struct ending ending = { .end = end, .speaking = SPEAKERS };
    uint64_t address, length;

    daemon_start(&daemon_of_test, NULL);
    assert_int_equal(dmabufd_connect(&ending.d, NULL), 0);
    for (unsigned int i = 0; i < LASTING; i++)
        assert_int_equal(dmabufd_alloc(ending.d, 8192, 4096, &ending.lasting[i]), 0);
    assert_int_equal(together(PLAYERS + 1, live_through_it, &ending), 0);
    assert_int_equal(atomic_load(&ending.told[DMABUFD_EVENT_ENDING]), announced);
    assert_int_equal(atomic_load(&ending.told[DMABUFD_EVENT_LOST]), 1);
    for (unsigned int i = 0; i < LASTING; i++) {
        assert_int_equal(atomic_load(&ending.revoked[i]), 1);
        assert_int_equal(dmabufd_buffer_translate(ending.lasting[i], 0, &address, &length),
                         -ENOENT);
    }
    dmabufd_disconnect(ending.d);
    if (daemon_of_test.keeper > 0)
        daemon_stop(&daemon_of_test);
}

static void stop_daemon(void)
{
    daemon_stop(&daemon_of_test);
}

static void kill_broker(void)
{
    kill(daemon_broker(&daemon_of_test), SIGKILL);
}

static void are_told_that_it_ends(void **state)
{
    (void)state;
    for (int i = 0; i < 5; i++)
        check_end(stop_daemon, 1);
}

static void are_told_that_it_died(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++)
        check_end(kill_broker, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(share_a_connection, clean_up),
        cmocka_unit_test_teardown(get_answers_out_of_order, clean_up),
        cmocka_unit_test_teardown(draw_from_the_pool, clean_up),
        cmocka_unit_test_teardown(come_and_go, clean_up),
        cmocka_unit_test_teardown(are_told_that_it_ends, clean_up),
        cmocka_unit_test_teardown(are_told_that_it_died, clean_up),
    };

    return cmocka_run_group_tests_name("threads", tests, NULL, NULL);
}
