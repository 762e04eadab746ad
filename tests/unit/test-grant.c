/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * daemon/keeper/grant.h through the service: what clients get out of the pool, and what becomes of all
 * counters, however it ends.
 */
#include "tests/unit/cmocka-all.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "common/cleanup.h"
#include "common/memfd.h"
#include "tests/unit/pool-rig.h"
#include "tests/unit/support.h"

static const struct dmabufd_constraints contiguous = { .flags = DMABUFD_CONTIGUOUS };

static const struct buffer *known(uint64_t id)
{
    const struct buffer *buffer = slots_get(&store()->buffers, id);

    assert_non_null(buffer);
    return buffer;
}

/* No worker has had the chance to do anything. */
static void answered_at_once(void **state)
{
    CLEANUP_FDS struct wire_fds fds = WIRE_FDS_NONE;
    struct stat st;

    (void)state;
    fill(8);
    assert_int_equal(tell(LINK_ALLOC, USER, PAGE_2M - 5), 0);
    assert_int_equal(rig.service.jobs, 0);
    assert_int_equal(pool_2m()->ready, 7 * PAGE_2M);
    assert_int_equal(pool_2m()->grants, 1);
    assert_int_equal(pool_2m()->misses, 0);
    assert_true(rig_receive(&rig, &reply, &fds));
    assert_int_equal(reply.error, 0);
    assert_int_equal(reply.tag, PAGE_2M - 5);
    assert_int_equal(fds.count, 1);
    assert_int_equal(reply.u.buffer.size, PAGE_2M);
    assert_int_equal(reply.u.buffer.page_size, PAGE_2M);
    assert_int_equal(reply.u.buffer.chunk_count, 0);
    assert_int_equal(reply.u.buffer.span_count, 1);
    assert_int_equal(reply.u.buffer.spans[0].length, PAGE_2M);
    assert_in_range(reply.u.buffer.spans[0].dma_addr, START, START + 7 * PAGE_2M);
    assert_int_equal(fstat(fds.fd[0], &st), 0);
    assert_int_equal(st.st_size, PAGE_2M);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(held_by(USER), 1);
    assert_int_equal(used_by(USER), PAGE_2M);
    assert_int_equal(rig.service.pinned, 1);
    assert_int_equal(store()->huge_bytes, PAGE_2M);
    /* Whatever becomes of it, it is to be emptied. */
    assert_true(known(reply.u.buffer.id)->shown);
}

static void too_little_is_built(void **state)
{
    (void)state;
    fill(4);
    assert_int_equal(tell(LINK_ALLOC, USER, 3 * PAGE_2M), 0);
    assert_int_equal(rig.service.jobs, 1);
    assert_int_equal(pool_2m()->misses, 1);
    assert_int_equal(pool_2m()->ready, 4 * PAGE_2M);
    assert_true(rig_settle(&rig));
    assert_int_equal(held_by(USER), 1);
    assert_int_equal(used_by(USER), 3 * PAGE_2M);
}

static void of_another_page_size_is_built(void **state)
{
    struct link_request request = { .op = LINK_ALLOC,
                                    .client = USER,
                                    .u.alloc = { .size = PAGE_1G, .page_size = PAGE_1G } };

    (void)state;
    fill(4);
    mock.limited = false;
    assert_int_equal(ask(request, -1, NULL), 0);
    assert_int_equal(reply.u.buffer.page_size, PAGE_1G);
    assert_int_equal(pool_2m()->grants + pool_2m()->misses, 0);
}

/* Files that were given away are kept by whoever got them, and none of them comes again. */
static void never_the_same_memory(void **state)
{
    int kept[24];

    (void)state;
    fill(2);
    for (size_t i = 0; i < ARRAY_LEN(kept); i++) {
        struct wire_fds fds = WIRE_FDS_NONE;

        assert_int_equal(alloc(USER, PAGE_2M, NULL, &fds), 0);
        assert_int_equal(fds.count, 1);
        kept[i] = fds.fd[0];
        for (size_t j = 0; j < i; j++)
            assert_int_equal(memfd_same(kept[i], kept[j]), 0);
        assert_int_equal(let_go(USER, reply.u.buffer.id), 0);
        assert_int_equal(used_by(USER), 0);
        await_ready(pool_2m(), 2 * PAGE_2M);
    }
    assert_int_equal(pool_2m()->grants, ARRAY_LEN(kept));
    assert_int_equal(pool_2m()->refilled, (2 + ARRAY_LEN(kept)) * PAGE_2M);
    assert_int_equal(mock.ends, ARRAY_LEN(kept));
    for (size_t i = 0; i < ARRAY_LEN(kept); i++)
        fd_close(&kept[i]);
}

static void all_of_it_one_by_one(void **state)
{
    (void)state;
    fill(5);
    mock.spare = 0;
    for (uint64_t i = 1; i <= 5; i++)
        assert_int_equal(tell(LINK_ALLOC, USER, PAGE_2M), 0);
    assert_int_equal(pool_2m()->ready, 0);
    assert_int_equal(pool_2m()->grants, 5);
    assert_int_equal(rig.service.jobs, 0);
    assert_int_equal(rig_drain(&rig), 5);
    assert_int_equal(alloc(OTHER, PAGE_2M, NULL, NULL), ENOMEM);
    assert_int_equal(reply.u.fault.code, DMABUFD_CODE_NO_HUGE_PAGES);
}

static uint64_t alloc_assembled(uint64_t client, uint32_t pages, struct wire_fds *fds)
{
    assert_int_equal(alloc(client, pages * PAGE_2M, &contiguous, fds), 0);
    assert_int_equal(reply.u.buffer.size, pages * PAGE_2M);
    assert_int_equal(reply.u.buffer.chunk_count, pages);
    assert_int_equal(reply.u.buffer.span_count, 1);
    assert_int_equal(reply.u.buffer.spans[0].length, pages * PAGE_2M);
    return reply.u.buffer.id;
}

/* Asks for chunks from @first on, expects so many. */
static void expect_chunks(uint64_t client, uint64_t buffer, uint32_t first, unsigned int count,
                          int access)
{
    CLEANUP_FDS struct wire_fds fds = WIRE_FDS_NONE;
    struct link_request request = { .op = LINK_CHUNKS,
                                    .client = client,
                                    .u.chunks = { .buffer = buffer, .first = first } };

    assert_int_equal(ask(request, -1, &fds), 0);
    assert_int_equal(fds.count, count);
    for (unsigned int i = 0; i < count; i++) {
        const struct buffer *chunk = known(buffer)->chunk[first + i];

        assert_int_equal(memfd_same(access == O_RDWR ? chunk->fd : chunk->readonly_fd, fds.fd[i]),
                         1);
        assert_int_equal(fcntl(fds.fd[i], F_GETFL) & O_ACCMODE, access);
    }
}

static void assembled(void **state)
{
    CLEANUP_FDS struct wire_fds fds = WIRE_FDS_NONE;
    uint64_t id, at;
    struct stat st;

    (void)state;
    fill(12);
    id = alloc_assembled(USER, 9, &fds);
    assert_int_equal(fds.count, 1);
    assert_int_equal(fstat(fds.fd[0], &st), 0);
    assert_true((uint64_t)st.st_size < PAGE_2M);
    assert_int_equal(pwrite(fds.fd[0], "x", 1, 0), -1);
    assert_int_equal(held_by(USER), 10);
    assert_int_equal(store()->reserved, 10);
    assert_int_equal(used_by(USER), 9 * PAGE_2M);
    assert_int_equal(store()->huge_bytes, 9 * PAGE_2M);
    assert_int_equal(rig.service.pinned, 1);
    at = reply.u.buffer.spans[0].dma_addr;
    for (uint32_t i = 0; i < 9; i++) {
        const struct buffer *chunk = known(id)->chunk[i];

        assert_true(chunk->shown);
        assert_int_equal(chunk->spans.list[0].dma_addr, at + i * PAGE_2M);
    }
    expect_chunks(USER, id, 0, 4, O_RDWR);
    expect_chunks(USER, id, 4, 4, O_RDWR);
    expect_chunks(USER, id, 8, 1, O_RDWR);
    await_ready(pool_2m(), 12 * PAGE_2M);
    assert_int_equal(let_go(USER, id), 0);
    assert_int_equal(held_by(USER), 0);
    assert_int_equal(store()->reserved, 0);
    assert_int_equal(used_by(USER), 0);
    assert_int_equal(rig.service.pinned, 0);
    assert_int_equal(mock.ends, 9);
}

/* By the token, with the right that it has. */
static void looked_up_by_its_token(void **state)
{
    CLEANUP_FDS struct wire_fds token = WIRE_FDS_NONE;
    CLEANUP_FDS struct wire_fds readonly = WIRE_FDS_NONE;
    struct link_request share = { .op = LINK_SHARE, .client = USER };
    struct link_request look = { .op = LINK_LOOKUP, .client = OTHER };
    uint64_t id;

    (void)state;
    fill(4);
    id = share.u.buffer = alloc_assembled(USER, 3, &token);
    assert_int_equal(ask(share, -1, &readonly), 0);
    assert_int_equal(store()->shares, 4);
    assert_int_equal(pool_user(USER)->used[QUOTA_SHARES], 4);
    assert_int_equal(ask(look, readonly.fd[0], NULL), 0);
    assert_int_equal(reply.u.buffer.id, id);
    assert_int_equal(reply.u.buffer.chunk_count, 3);
    assert_int_equal(reply.u.buffer.access, DMABUFD_READ_ONLY);
    expect_chunks(OTHER, id, 0, 3, O_RDONLY);
    expect_chunks(USER, id, 0, 3, O_RDWR);
    assert_int_equal(held_by(OTHER), 4);
    assert_int_equal(used_by(OTHER), 3 * PAGE_2M);
    assert_int_equal(ask(look, token.fd[0], NULL), 0);
    expect_chunks(OTHER, id, 0, 3, O_RDWR);
    assert_int_equal(let_go(USER, id), 0);
    assert_int_equal(held_by(USER), 0);
    assert_int_equal(used_by(USER), 0);
    assert_int_equal(mock.ends, 0);
    assert_int_equal(let_go(OTHER, id), 0);
    assert_int_equal(let_go(OTHER, id), 0);
    assert_int_equal(held_by(OTHER), 0);
    assert_int_equal(used_by(OTHER), 0);
    assert_int_equal(store()->shares, 0);
    assert_int_equal(pool_user(USER)->used[QUOTA_SHARES], 0);
    assert_int_equal(mock.ends, 3);
}

/* A chunk is a part, not the capability. */
static void chunks_are_no_buffers(void **state)
{
    CLEANUP_FDS struct wire_fds fds = WIRE_FDS_NONE;
    struct link_request chunks = { .op = LINK_CHUNKS, .client = USER };

    (void)state;
    fill(4);
    chunks.u.chunks.buffer = alloc_assembled(USER, 3, NULL);
    assert_int_equal(ask(chunks, -1, &fds), 0);
    assert_int_equal(fds.count, 3);
    assert_int_equal(
        ask((struct link_request){ .op = LINK_LOOKUP, .client = OTHER }, fds.fd[0], NULL), ENXIO);
}

static void share_without_descriptors(void **state)
{
    struct link_request share = { .op = LINK_SHARE, .client = USER };
    size_t before;

    (void)state;
    fill(4);
    share.u.buffer = alloc_assembled(USER, 3, NULL);
    await_ready(pool_2m(), 4 * PAGE_2M);
    before = support_fds();
    for (unsigned int room = 0; room < 5; room++) {
        uint64_t saved = support_leave_room(room);
        int error = ask(share, -1, NULL);

        support_restore_room(saved);
        assert_int_equal(error, EMFILE);
        /* With room for four all are made, and there is none for the reply. */
        assert_int_equal(store()->shares, room < 4 ? 0 : 4);
        assert_int_equal(support_fds(), before + (room < 4 ? 0 : 4));
    }
}

static void wrong_chunks(void **state)
{
    struct link_request request = { .op = LINK_CHUNKS, .client = USER };
    uint64_t id, one;

    (void)state;
    fill(4);
    id = alloc_assembled(USER, 3, NULL);
    assert_int_equal(alloc(USER, PAGE_2M, NULL, NULL), 0);
    one = reply.u.buffer.id;
    for (uint64_t first = 3; first <= UINT32_MAX; first = first * 2 + 1) {
        request.u.chunks = (struct link_chunks){ .buffer = id, .first = (uint32_t)first };
        assert_int_equal(ask(request, -1, NULL), EINVAL);
    }
    request.u.chunks = (struct link_chunks){ .buffer = one };
    assert_int_equal(ask(request, -1, NULL), EINVAL);
    request.u.chunks = (struct link_chunks){ .buffer = id + 1000 };
    assert_int_equal(ask(request, -1, NULL), ENOENT);
    request.client = OTHER;
    request.u.chunks = (struct link_chunks){ .buffer = id };
    assert_int_equal(ask(request, -1, NULL), ENOENT);
}

static void client_leaves(void **state)
{
    (void)state;
    fill(8);
    alloc_assembled(USER, 3, NULL);
    assert_int_equal(alloc(USER, PAGE_2M, NULL, NULL), 0);
    assert_int_equal(tell(LINK_CLIENT_GONE, USER, 0), 0);
    assert_int_equal(store()->reserved, 0);
    await_ready(pool_2m(), 8 * PAGE_2M);
    assert_int_equal(rig.service.pinned, 0);
    assert_int_equal(mock.ends, 4);
}

/* Its clients keep the contents, and the pool what it has. */
static void broker_dies(void **state)
{
    (void)state;
    fill(8);
    alloc_assembled(USER, 3, NULL);
    alloc_assembled(OTHER, 2, NULL);
    assert_int_equal(alloc(USER, PAGE_2M, NULL, NULL), 0);
    rig_end_broker(&rig);
    assert_int_equal(store()->client_count, 0);
    assert_int_equal(store()->reserved, 0);
    await_ready(pool_2m(), 8 * PAGE_2M);
    assert_int_equal(mock.ends, 6);
    assert_int_equal(rig.service.pinned, 0);
    assert_int_equal(pool_2m()->target, 8 * PAGE_2M);
    rig_start_broker(&rig);
    assert_int_equal(tell(LINK_CLIENT_NEW, USER, 0), 0);
    assert_int_equal(alloc(USER, PAGE_2M, NULL, NULL), 0);
    assert_int_equal(pool_2m()->grants, 4);
}

static void quota_leaves_the_pool_alone(void **state)
{
    struct quota_limits *limits = &rig.service.store.quota.limits;
    const uint64_t buffers = limits->most[QUOTA_BUFFERS];

    (void)state;
    fill(8);
    limits->most[QUOTA_2M] = PAGE_2M - 1;
    assert_int_equal(alloc(USER, PAGE_2M, NULL, NULL), ENOMEM);
    expect_untouched(8);
    assert_int_equal(alloc(USER, 3 * PAGE_2M, &contiguous, NULL), ENOMEM);
    expect_untouched(8);
    limits->most[QUOTA_2M] = QUOTA_UNLIMITED;
    limits->most[QUOTA_BUFFERS] = 0;
    assert_int_equal(alloc(USER, PAGE_2M, NULL, NULL), EMFILE);
    expect_untouched(8);
    limits->most[QUOTA_BUFFERS] = buffers;
    assert_int_equal(alloc(USER, PAGE_2M, NULL, NULL), 0);
}

/* As without a pool: a user who may have no more huge pages gets small ones. */
static void quota_and_automatic_pages(void **state)
{
    struct link_request request = { .op = LINK_ALLOC,
                                    .client = USER,
                                    .u.alloc = { .size = PAGE_2M } };

    (void)state;
    fill(4);
    rig.service.store.quota.limits.most[QUOTA_2M] = 0;
    assert_int_equal(ask(request, -1, NULL), 0);
    assert_int_equal(reply.u.buffer.page_size, PAGE_4K);
    assert_int_equal(pool_2m()->ready, 4 * PAGE_2M);
}

/* A client that may hold 20 does not get one of 21 chunks; it gets one that is made. */
static void too_many_chunks_for_a_client(void **state)
{
    (void)state;
    fill(30);
    assert_int_equal(alloc(USER, (BUFFERS + 2) * PAGE_2M, &contiguous, NULL), 0);
    assert_int_equal(reply.u.buffer.chunk_count, 0);
    assert_int_equal(held_by(USER), 1);
    await_ready(pool_2m(), 30 * PAGE_2M);
}

static void no_descriptor_for_the_answer(void **state)
{
    const struct dmabufd_constraints *constraints[] = { NULL, &contiguous };
    /* Of the second kind one is the token. */
    unsigned int room[] = { 0, 1 };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(room); i++) {
        uint64_t saved, ends;
        int error;

        fill(8);
        ends = mock.ends;
        saved = support_leave_room(room[i]);
        error = alloc(USER, (1 + 2 * i) * PAGE_2M, constraints[i], NULL);
        support_restore_room(saved);
        assert_int_equal(error, EMFILE);
        /* It may not go back: nobody can tell whether it left. */
        await_ready(pool_2m(), 8 * PAGE_2M);
        assert_int_equal(mock.ends, ends + 1 + 2 * i);
        assert_int_equal(held_by(USER), 0);
        assert_int_equal(used_by(USER), 0);
        assert_int_equal(store()->reserved, 0);
        assert_int_equal(rig.service.pinned, 0);
    }
}

/* One file instead of several needs no more: those that were given up for it are closed first. */
static void no_descriptor_for_the_token(void **state)
{
    uint64_t saved;
    int error;

    (void)state;
    fill(8);
    saved = support_leave_room(0);
    error = alloc(USER, 3 * PAGE_2M, &contiguous, NULL);
    support_restore_room(saved);
    assert_int_equal(error, 0);
    assert_int_equal(reply.u.buffer.chunk_count, 0);
    assert_int_equal(pool_2m()->grants, 0);
    assert_int_equal(held_by(USER), 1);
    assert_int_equal(used_by(USER), 3 * PAGE_2M);
    assert_int_equal(rig.service.pinned, 1);
}

static void a_chunk_stays_pinned(void **state)
{
    uint64_t id;

    (void)state;
    fill(4);
    id = alloc_assembled(USER, 3, NULL);
    await_ready(pool_2m(), 4 * PAGE_2M);
    atomic_store(&mock.unpins_refused, 1);
    assert_int_equal(let_go(USER, id), 0);
    assert_int_equal(rig.service.unreleasable, 3 * PAGE_2M);
    assert_int_equal(rig.service.pinned, 0);
    assert_int_equal(store()->reserved, 0);
    assert_non_null(LIST_FIRST(&rig.service.kept));
    assert_int_equal(LIST_FIRST(&rig.service.kept)->chunk_count, 3);
    assert_int_equal(mock.ends, 0);
    /* Whose memory it was pays for it. */
    assert_int_equal(used_by(USER), 3 * PAGE_2M);
    refill_stop(&rig.service);
    assert_true(rig_settle(&rig));
    forgive();
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, pool_rig_setup, pool_rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(answered_at_once),
        TEST(too_little_is_built),
        TEST(of_another_page_size_is_built),
        TEST(never_the_same_memory),
        TEST(all_of_it_one_by_one),
        TEST(assembled),
        TEST(looked_up_by_its_token),
        TEST(chunks_are_no_buffers),
        TEST(share_without_descriptors),
        TEST(wrong_chunks),
        TEST(client_leaves),
        TEST(broker_dies),
        TEST(quota_leaves_the_pool_alone),
        TEST(quota_and_automatic_pages),
        TEST(too_many_chunks_for_a_client),
        TEST(no_descriptor_for_the_answer),
        TEST(no_descriptor_for_the_token),
        TEST(a_chunk_stays_pinned),
    };

    pool_rig_can();
    return cmocka_run_group_tests_name("grant", tests, NULL, NULL);
}
