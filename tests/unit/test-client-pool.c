/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The pool in the library (client/pool.c, client/reply.c): what a daemon says of it arrives whole, and
 * what no daemon can mean ends the connection.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "client/reply.h"
#include "common/cleanup.h"
#include "tests/unit/fake-daemon.h"
#include "tests/unit/support.h"

#define MIB2 (UINT64_C(2) << 20)
#define GIB1 (UINT64_C(1) << 30)

static Dmabufd__Proto__PoolReply pool;
static Dmabufd__Proto__PoolMapReply map;
static uint32_t runs[PROTO_POOL_RUNS + 1], files[PROTO_POOL_CLASSES + 1];
static uint8_t ready[PROTO_POOL_CELLS + 1], held[PROTO_POOL_CELLS + 1];

static int setup(void **state)
{
    (void)state;
    dmabufd__proto__pool_reply__init(&pool);
    pool.set_count = 3;
    pool.set = 0;
    pool.node = 1;
    pool.page_size = MIB2;
    pool.target = 64 * MIB2;
    pool.ready = 60 * MIB2;
    pool.refilling = true;
    pool.largest_run = 8 * MIB2;
    pool.grants = UINT64_MAX;
    pool.misses = UINT64_MAX - 1;
    pool.refilled = UINT64_MAX - 2;
    for (uint32_t i = 0; i < PROTO_POOL_RUNS; i++)
        runs[i] = 100 + i;
    for (uint32_t i = 0; i < PROTO_POOL_CLASSES; i++)
        files[i] = 200 + i;
    pool.runs = runs;
    pool.n_runs = PROTO_POOL_RUNS;
    pool.files = files;
    pool.n_files = PROTO_POOL_CLASSES;
    dmabufd__proto__pool_map_reply__init(&map);
    map.cell = GIB1;
    memset(ready, 7, sizeof(ready));
    memset(held, 9, sizeof(held));
    map.ready.data = ready;
    map.held.data = held;
    map.ready.len = map.held.len = PROTO_POOL_CELLS;
    return 0;
}

static int parse(struct reply *ret)
{
    proto_reply message = DMABUFD__PROTO__REPLY__INIT;
    const char *why;
    int r;

    message.id = 1;
    message.body_case = DMABUFD__PROTO__REPLY__BODY_POOL;
    message.pool = &pool;
    r = reply_parse(&message, ret, &why);
    assert_int_equal(r < 0, why != NULL);
    return r;
}

static int parse_map(struct reply *ret)
{
    proto_reply message = DMABUFD__PROTO__REPLY__INIT;
    const char *why;

    message.id = 1;
    message.body_case = DMABUFD__PROTO__REPLY__BODY_POOL_MAP;
    message.pool_map = &map;
    return reply_parse(&message, ret, &why);
}

static void sets_arrive_whole(void **state)
{
    struct reply reply;
    const struct dmabufd_pool_set *set = &reply.pool.info;

    (void)state;
    assert_int_equal(parse(&reply), 0);
    assert_int_equal(reply.pool.set_count, 3);
    assert_int_equal(set->page_size, MIB2);
    assert_int_equal(set->node, 1);
    assert_int_equal(set->refilling, 1);
    assert_int_equal(set->target, 64 * MIB2);
    assert_int_equal(set->ready, 60 * MIB2);
    assert_int_equal(set->largest_run, 8 * MIB2);
    assert_true(set->grants == UINT64_MAX);
    assert_true(set->misses == UINT64_MAX - 1);
    assert_true(set->refilled == UINT64_MAX - 2);
    assert_memory_equal(set->runs, runs, sizeof(set->runs));
    assert_memory_equal(set->files, files, sizeof(set->files));
    /* Sizes at the end that are not spoken of have none. */
    pool.n_runs = 1;
    pool.n_files = 0;
    assert_int_equal(parse(&reply), 0);
    assert_int_equal(set->runs[0], 100);
    assert_int_equal(set->runs[1], 0);
    assert_int_equal(set->files[0], 0);
    pool.target = pool.ready = pool.largest_run = 0;
    assert_int_equal(parse(&reply), 0);
}

#define HOSTILE(change)                           \
    do {                                          \
        setup(NULL);                              \
        change;                                   \
        assert_int_equal(parse(&reply), -EPROTO); \
    } while (0)

static void sets_that_cannot_be(void **state)
{
    struct reply reply;

    (void)state;
    HOSTILE(pool.set_count = 0);
    HOSTILE(pool.set = 3);
    HOSTILE(pool.set_count = UINT32_MAX);
    HOSTILE(pool.page_size = 0);
    HOSTILE(pool.page_size = 4096);
    HOSTILE(pool.page_size = 3 * MIB2);
    HOSTILE(pool.page_size = UINT64_C(1) << 63);
    HOSTILE(pool.target = MIB2 + 4096);
    HOSTILE(pool.target = UINT64_MAX - MIB2 + 1);
    HOSTILE(pool.ready = MIB2 - 1);
    HOSTILE(pool.ready = UINT64_C(1) << 63);
    HOSTILE(pool.largest_run = 61 * MIB2);
    HOSTILE(pool.largest_run = 4096);
    HOSTILE(pool.n_runs = PROTO_POOL_RUNS + 1);
    HOSTILE(pool.n_files = PROTO_POOL_CLASSES + 1);
}

static void pictures(void **state)
{
    struct reply reply;

    (void)state;
    assert_int_equal(parse_map(&reply), 0);
    assert_int_equal(reply.pool_map.count, PROTO_POOL_CELLS);
    assert_int_equal(reply.pool_map.cell, GIB1);
    assert_int_equal(reply.pool_map.ready[PROTO_POOL_CELLS - 1], 7);
    assert_int_equal(reply.pool_map.held[0], 9);
    map.ready.len = map.held.len = 3;
    assert_int_equal(parse_map(&reply), 0);
    assert_int_equal(reply.pool_map.count, 3);
    assert_int_equal(reply.pool_map.ready[3], 0);
    map.held.len = 4;
    assert_int_equal(parse_map(&reply), -EPROTO);
    map.ready.len = map.held.len = PROTO_POOL_CELLS + 1;
    assert_int_equal(parse_map(&reply), -EPROTO);
    map.ready.len = map.held.len = 2;
    map.cell = 0;
    assert_int_equal(parse_map(&reply), -EPROTO);
    map.cell = 4097;
    assert_int_equal(parse_map(&reply), -EPROTO);
    map.cell = UINT64_C(1) << 63;
    assert_int_equal(parse_map(&reply), -EPROTO);
    /* Nothing to see. */
    map.ready.len = map.held.len = 0;
    map.cell = 0;
    assert_int_equal(parse_map(&reply), 0);
    assert_int_equal(reply.pool_map.count, 0);
}

/* ---- over a connection ---- */

struct player {
    struct fake fake;
    uint32_t change_at; /* of which on another number of sets is told; 0: never */
    uint32_t lie_at;    /* likewise, another set than was asked for */
    bool denies;
    bool gives_fds;
};

static struct player player;

static void say_denied(uint64_t id)
{
    Dmabufd__Proto__Error error = DMABUFD__PROTO__ERROR__INIT;
    proto_reply reply = DMABUFD__PROTO__REPLY__INIT;
    static char text[] = "not for you";

    error.code = DMABUFD__PROTO__ERROR_CODE__ERROR_DENIED;
    error.errno_value = EPERM;
    error.text = text;
    reply.id = id;
    reply.body_case = DMABUFD__PROTO__REPLY__BODY_ERROR;
    reply.error = &error;
    fake_say(&player.fake, &reply, NULL);
}

static void answer(const proto_request *request)
{
    proto_reply reply = DMABUFD__PROTO__REPLY__INIT;
    struct wire_fds fds = { .fd = { 0 }, .count = player.gives_fds };

    reply.id = request->id;
    reply.body_case = DMABUFD__PROTO__REPLY__BODY_POOL;
    reply.pool = &pool;
    if (request->body_case == DMABUFD__PROTO__REQUEST__BODY_POOL) {
        uint32_t set = request->pool->set;

        pool.set = player.lie_at && set >= player.lie_at ? 0 : set;
        pool.node = set;
        if (player.change_at && set >= player.change_at)
            pool.set_count = 5;
    } else if (request->body_case == DMABUFD__PROTO__REQUEST__BODY_POOL_RESIZE) {
        pool.target = request->pool_resize->pages * MIB2;
        pool.node = player.lie_at ? 77 : request->pool_resize->node;
    } else {
        reply.body_case = DMABUFD__PROTO__REPLY__BODY_POOL_MAP;
        reply.pool_map = &map;
    }
    fake_say(&player.fake, &reply, &fds);
}

static void *play(void *unused)
{
    const proto_request *request;
    struct wire_fds fds;

    (void)unused;
    while ((request = fake_request(&player.fake, &fds))) {
        assert_int_equal(fds.count, 0);
        if (player.denies)
            say_denied(request->id);
        else
            answer(request);
    }
    fd_close(&player.fake.sock);
    return NULL;
}

static pthread_t thread;

static dmabufd *begin(void)
{
    dmabufd *d;

    setup(NULL);
    player = (struct player){ 0 };
    assert_int_equal(fake_meet(&player.fake, 0, &d), 0);
    assert_int_equal(pthread_create(&thread, NULL, play, NULL), 0);
    return d;
}

static void end(dmabufd *d)
{
    dmabufd_disconnect(d);
    pthread_join(thread, NULL);
}

static void all_sets_are_listed(void **state)
{
    CLEANUP_FREE struct dmabufd_pool_set *list = NULL;
    dmabufd *d = begin();
    size_t count = 77;

    (void)state;
    assert_int_equal(dmabufd_pool(d, &list, &count), 0);
    assert_int_equal(count, 3);
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(list[i].node, i);
    end(d);
}

static void no_sets_is_an_answer(void **state)
{
    struct dmabufd_pool_set *list = (void *)1;
    dmabufd *d = begin();
    size_t count = 77;

    (void)state;
    dmabufd__proto__pool_reply__init(&pool);
    assert_int_equal(dmabufd_pool(d, &list, &count), 0);
    assert_int_equal(count, 0);
    assert_null(list);
    end(d);
}

static void lists_that_cannot_be(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        struct dmabufd_pool_set *list = (void *)1;
        size_t count = 77, fds;
        dmabufd *d;

        fds = support_fds();
        d = begin();
        player.change_at = i == 0 ? 2 : 0;
        player.lie_at = i == 1 ? 1 : 0;
        player.gives_fds = i == 2;
        assert_int_equal(dmabufd_pool(d, &list, &count), -EPROTO);
        /* As they were. */
        assert_ptr_equal(list, (void *)1);
        assert_int_equal(count, 77);
        assert_int_equal(dmabufd_pool(d, &list, &count), -ENOTCONN);
        end(d);
        assert_int_equal(support_fds(), fds);
    }
}

static void resized(void **state)
{
    struct dmabufd_pool_set set;
    dmabufd *d = begin();

    (void)state;
    assert_int_equal(dmabufd_pool_resize(d, MIB2, 4, 100, &set), 0);
    assert_int_equal(set.target, 100 * MIB2);
    assert_int_equal(set.node, 4);
    assert_int_equal(dmabufd_pool_resize(d, MIB2, 4, 0, NULL), 0);
    /* A set of other pages, or of another node, is no answer. */
    assert_int_equal(dmabufd_pool_resize(d, GIB1, 4, 1, NULL), -EPROTO);
    end(d);
    d = begin();
    player.lie_at = 1;
    assert_int_equal(dmabufd_pool_resize(d, MIB2, 4, 1, NULL), -EPROTO);
    end(d);
}

static void refusals_have_a_reason(void **state)
{
    struct dmabufd_pool_map got = { .cell = 5 };
    dmabufd *d = begin();

    (void)state;
    assert_int_equal(dmabufd_pool_get_map(d, &got), 0);
    assert_int_equal(got.cell, GIB1);
    player.denies = true;
    got.cell = 5;
    assert_int_equal(dmabufd_pool_get_map(d, &got), -EPERM);
    assert_int_equal(got.cell, 5);
    assert_int_equal(dmabufd_last_code(), DMABUFD_CODE_DENIED);
    assert_string_equal(dmabufd_last_error(), "not for you");
    assert_int_equal(dmabufd_pool_resize(d, MIB2, 0, 1, NULL), -EPERM);
    /* The connection goes on. */
    player.denies = false;
    assert_int_equal(dmabufd_pool_get_map(d, &got), 0);
    end(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(sets_arrive_whole, setup),
        cmocka_unit_test(sets_that_cannot_be),
        cmocka_unit_test_setup(pictures, setup),
        cmocka_unit_test(all_sets_are_listed),
        cmocka_unit_test(no_sets_is_an_answer),
        cmocka_unit_test(lists_that_cannot_be),
        cmocka_unit_test(resized),
        cmocka_unit_test(refusals_have_a_reason),
    };

    return cmocka_run_group_tests_name("client pool", tests, NULL, NULL);
}
