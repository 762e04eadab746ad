/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * daemon/broker/upstream.h, continued: the chunks of a buffer, with as many descriptors as there are,
 * and what is asked and told of the pool.
 */
#include "tests/unit/cmocka-all.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/memfd.h"
#include "daemon/broker/session.h"
#include "tests/unit/broker-rig.h"
#include "tests/unit/support.h"

static struct raw_reply reply;

static int make_file(void)
{
    int fd = -1;

    assert_int_equal(memfd_open("unit", 0, &fd), 0);
    return fd;
}

static ino_t inode(int fd)
{
    struct stat st;

    assert_int_equal(fstat(fd, &st), 0);
    return st.st_ino;
}

/* As many descriptors as the keeper sends, in one message of the protocol. */
static void chunks_come_by_ones_to_fours(void **state)
{
    unsigned char bytes[PROTO_REQUEST_MAX];
    int file = make_file();
    uint64_t client;
    int sock = broker_rig_greeted(&client);

    (void)state;
    for (size_t count = 1; count <= PROTO_FDS_MAX; count++) {
        struct link_reply answer = { .op = LINK_CHUNKS };
        size_t before = support_fds();

        assert_int_equal(raw_send(sock, bytes, raw_chunks(bytes, 9, 3, 0), -1, 0), 0);
        answer.tag = broker_rig_expect(LINK_CHUNKS, client);
        broker_rig_answer(&answer, file, count);
        broker_rig_reply(sock, &reply);
        assert_int_equal(reply.message->id, 9);
        assert_int_equal(reply.message->body_case, DMABUFD__PROTO__REPLY__BODY_CHUNKS);
        assert_int_equal(reply.fds.count, count);
        for (size_t i = 0; i < count; i++)
            assert_int_equal(inode(reply.fds.fd[i]), inode(file));
        wire_fds_close(&reply.fds);
        assert_int_equal(support_fds(), before);
    }
    close(file);
    close(sock);
}

/* The client holds the buffer already, so there is nothing to give back. */
static void lost_chunks_are_only_refused(void **state)
{
    unsigned char bytes[PROTO_REQUEST_MAX];
    struct link_reply answer = { .op = LINK_CHUNKS };
    struct link_request asked;
    uint64_t client, saved;
    int sock = broker_rig_greeted(&client);

    (void)state;
    for (size_t count = 0; count <= PROTO_FDS_MAX; count += 2) {
        assert_int_equal(raw_send(sock, bytes, raw_chunks(bytes, 9, 42, 0), -1, 0), 0);
        answer.tag = broker_rig_expect(LINK_CHUNKS, client);
        /* With room for some it is still all or nothing. */
        saved = support_leave_room(count == PROTO_FDS_MAX ? 3 : 0);
        broker_rig_answer(&answer, STDIN_FILENO, count);
        support_restore_room(saved);
        broker_rig_reply(sock, &reply);
        assert_true(raw_is_error(&reply, 9, DMABUFD_CODE_LIMIT, EMFILE));
        assert_false(broker_rig_asked(&asked, NULL));
    }
    close(sock);
}

static void chunk_counts_are_passed_on(void **state)
{
    struct link_reply answer = {
        .op = LINK_ALLOC, .u.buffer = { .id = 3, .size = 8192, .span_count = 1, .chunk_count = 250 }
    };
    uint64_t client;
    int sock = broker_rig_greeted(&client);

    (void)state;
    assert_int_equal(raw_send_allocate(sock, 9, 8192), 0);
    answer.tag = broker_rig_expect(LINK_ALLOC, client);
    broker_rig_answer(&answer, STDIN_FILENO, 1);
    broker_rig_reply(sock, &reply);
    assert_int_equal(reply.message->buffer->chunk_count, 250);
    wire_fds_close(&reply.fds);
    close(sock);
}

static void assert_pool_arrived(const struct link_pool *sent)
{
    const Dmabufd__Proto__PoolReply *got = reply.message->pool;

    assert_int_equal(reply.message->body_case, DMABUFD__PROTO__REPLY__BODY_POOL);
    assert_int_equal(got->set_count, sent->set_count);
    assert_int_equal(got->set, sent->set);
    assert_int_equal(got->node, sent->node);
    assert_int_equal(got->page_size, sent->page_size);
    assert_int_equal(got->target, sent->target);
    assert_int_equal(got->ready, sent->ready);
    assert_int_equal(got->refilling, sent->refilling);
    assert_int_equal(got->largest_run, sent->largest_run);
    assert_int_equal(got->grants, sent->grants);
    assert_int_equal(got->misses, sent->misses);
    assert_int_equal(got->refilled, sent->refilled);
    assert_int_equal(got->n_runs, PROTO_POOL_RUNS);
    assert_memory_equal(got->runs, sent->runs, sizeof(sent->runs));
    assert_int_equal(got->n_files, PROTO_POOL_CLASSES);
    assert_memory_equal(got->files, sent->files, sizeof(sent->files));
}

static void pool_questions_and_answers_arrive_whole(void **state)
{
    struct link_reply answer = { .op = LINK_POOL };
    struct link_pool *pool = &answer.u.pool;
    unsigned char bytes[PROTO_REQUEST_MAX];
    struct link_request asked;
    int sock = broker_rig_greeted(NULL);

    (void)state;
    /* As long as it can be. */
    memset(pool, 0xff, sizeof(*pool));
    pool->refilling = 1;
    assert_int_equal(raw_send(sock, bytes, raw_pool(bytes, 9, UINT32_MAX), -1, 0), 0);
    assert_true(broker_rig_asked(&asked, NULL));
    assert_int_equal(asked.op, LINK_POOL);
    assert_int_equal(asked.u.pool_set, UINT32_MAX);
    answer.tag = asked.tag;
    broker_rig_answer(&answer, -1, 0);
    broker_rig_reply(sock, &reply);
    assert_pool_arrived(pool);

    assert_int_equal(
        raw_send(sock, bytes, raw_pool_resize(bytes, 9, 2097152, 7, UINT64_MAX), -1, 0), 0);
    assert_true(broker_rig_asked(&asked, NULL));
    assert_int_equal(asked.op, LINK_POOL_RESIZE);
    assert_int_equal(asked.u.pool_size.page_size, 2097152);
    assert_int_equal(asked.u.pool_size.node, 7);
    assert_int_equal(asked.u.pool_size.pages, UINT64_MAX);
    answer.op = LINK_POOL_RESIZE;
    answer.tag = asked.tag;
    for (uint32_t i = 0; i < PROTO_POOL_RUNS; i++)
        pool->runs[i] = i;
    broker_rig_answer(&answer, -1, 0);
    broker_rig_reply(sock, &reply);
    assert_pool_arrived(pool);
    close(sock);
}

/* On a host without huge pages the rest is empty, whatever there is of it. */
static void no_pool_says_nothing_else(void **state)
{
    struct link_reply answer = { .op = LINK_POOL, .u.pool = { .page_size = 1, .ready = 1 } };
    unsigned char bytes[PROTO_REQUEST_MAX];
    uint64_t client;
    int sock = broker_rig_greeted(&client);

    (void)state;
    assert_int_equal(raw_send(sock, bytes, raw_pool(bytes, 9, 0), -1, 0), 0);
    answer.tag = broker_rig_expect(LINK_POOL, client);
    broker_rig_answer(&answer, -1, 0);
    broker_rig_reply(sock, &reply);
    assert_int_equal(reply.message->body_case, DMABUFD__PROTO__REPLY__BODY_POOL);
    assert_int_equal(reply.message->pool->set_count, 0);
    assert_int_equal(reply.message->pool->page_size, 0);
    assert_int_equal(reply.message->pool->n_runs, 0);
    close(sock);
}

static void pictures_arrive_whole(void **state)
{
    struct link_reply answer = { .op = LINK_POOL_MAP };
    struct link_pool_map *map = &answer.u.pool_map;
    unsigned char bytes[PROTO_REQUEST_MAX];
    uint64_t client;
    int sock = broker_rig_greeted(&client);

    (void)state;
    map->cell = UINT64_C(1) << 40;
    for (size_t i = 0; i < PROTO_POOL_CELLS; i++) {
        map->ready[i] = (uint8_t)i;
        map->held[i] = (uint8_t)(255 - i);
    }
    for (uint32_t count = 0; count <= PROTO_POOL_CELLS + 1; count += PROTO_POOL_CELLS / 2 + 1) {
        map->count = count;
        assert_int_equal(raw_send(sock, bytes, raw_pool_map(bytes, 9), -1, 0), 0);
        answer.tag = broker_rig_expect(LINK_POOL_MAP, client);
        broker_rig_answer(&answer, -1, 0);
        broker_rig_reply(sock, &reply);
        assert_int_equal(reply.message->body_case, DMABUFD__PROTO__REPLY__BODY_POOL_MAP);
        assert_int_equal(reply.message->pool_map->cell, map->cell);
        if (count > PROTO_POOL_CELLS)
            count = PROTO_POOL_CELLS;
        assert_int_equal(reply.message->pool_map->ready.len, count);
        assert_int_equal(reply.message->pool_map->held.len, count);
        assert_memory_equal(reply.message->pool_map->ready.data, map->ready, count);
        assert_memory_equal(reply.message->pool_map->held.data, map->held, count);
    }
    close(sock);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, broker_rig_setup, broker_rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(chunks_come_by_ones_to_fours), TEST(lost_chunks_are_only_refused),
        TEST(chunk_counts_are_passed_on),   TEST(pool_questions_and_answers_arrive_whole),
        TEST(no_pool_says_nothing_else),    TEST(pictures_arrive_whole),
    };

    return cmocka_run_group_tests_name("upstream, pool", tests, NULL, NULL);
}
