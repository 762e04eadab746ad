/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A keeper with a pool; see pool-rig.h. */
#include "tests/unit/pool-rig.h"

#include <string.h>

#include "daemon/log.h"
#include "tests/unit/cmocka-all.h"
#include "tests/unit/hugepages.h"
#include "tests/unit/support.h"

struct rig rig;
struct mock mock;
struct link_reply reply;

static bool pretending;
static size_t fds_before;

int __wrap_memory_prepare(struct memory *memory, const struct placement *placement, int fd,
                          uint64_t page_size, uint64_t offset, uint64_t length,
                          struct fault *fault);
uint64_t __wrap_memory_huge_free(const struct memory *memory, const struct placement *placement,
                                 uint64_t page_size);

int __wrap_memory_prepare(struct memory *memory, const struct placement *placement, int fd,
                          uint64_t page_size, uint64_t offset, uint64_t length, struct fault *fault)
{
    (void)memory;
    (void)placement;
    (void)fd;
    (void)page_size;
    (void)offset;
    (void)length;
    (void)fault;
    return 0;
}

uint64_t __wrap_memory_huge_free(const struct memory *memory, const struct placement *placement,
                                 uint64_t page_size)
{
    int64_t spare = atomic_load(&mock.spare);

    (void)memory;
    (void)placement;
    return spare < 0 ? 0 : (uint64_t)spare & ~(page_size - 1);
}

bool pool_rig_can(void)
{
    static const struct hugepages plenty[] = { { PAGE_2M, 1 << 20, 1 << 20, 0 },
                                               { PAGE_1G, 1 << 10, 1 << 10, 0 } };

    pretending = hugepages_pretend_begin();
    if (pretending)
        hugepages_pretend(plenty, 2);
    return pretending;
}

static void add_client(uint64_t id, uint32_t uid)
{
    const struct link_request request = { .op = LINK_CLIENT_NEW,
                                          .client = id,
                                          .u.peer = { 1, uid, uid, 0 } };
    struct wire_fds none = WIRE_FDS_NONE;

    assert_int_equal(service_request(&rig.service, &request, sizeof(request), &none), 0);
}

int pool_rig_setup(void **state)
{
    (void)state;
    if (!pretending)
        skip();
    log_open("keeper", false);
    fds_before = support_fds();
    mock_init(&mock);
    mock.next = START;
    mock.limited = true;
    mock.spare = (int64_t)PAGE_1G;
    mock.base.nodes = 1;
    rig_open(&rig, &mock.base, CLIENTS, BUFFERS);
    add_client(ADMIN, 0);
    add_client(USER, 1000);
    add_client(OTHER, 1001);
    return 0;
}

int pool_rig_teardown(void **state)
{
    bool empty;

    (void)state;
    if (!pretending)
        return 0;
    mock_open(&mock);
    empty = rig_close(&rig);
    mock_deinit(&mock);
    return empty && mock.disorder == 0 && mock.begins == mock.ends && support_fds() == fds_before
               ? 0
               : -1;
}

struct pool_set *pool_set_of(uint64_t page_size)
{
    struct pool_set *set = pool_find(&rig.service.pool, page_size, 0);

    assert_non_null(set);
    return set;
}

struct pool_set *pool_2m(void)
{
    return pool_set_of(PAGE_2M);
}

const struct store *store(void)
{
    return &rig.service.store;
}

uint32_t held_by(uint64_t client)
{
    return store_client(store(), client)->held;
}

uint64_t used_by(uint64_t client)
{
    return pool_user(client)->used[QUOTA_2M];
}

void expect_untouched(uint64_t pages)
{
    assert_int_equal(pool_2m()->ready, pages * PAGE_2M);
    assert_int_equal(pool_2m()->grants, 0);
    assert_int_equal(mock.unpins, 0);
    assert_int_equal(held_by(USER), 0);
    assert_int_equal(used_by(USER), 0);
    assert_int_equal(store()->reserved, 0);
    assert_int_equal(rig.service.pinned, 0);
}

static void forget(struct buffer *buffer)
{
    buffer->mapping.pinned = 0;
    for (uint32_t i = 0; i < buffer->chunk_count; i++)
        forget(buffer->chunk[i]);
}

void forgive(void)
{
    struct buffer *buffer;

    rig.service.unreleasable = 0;
    LIST_FOREACH (buffer, &rig.service.kept, inode_link)
        forget(buffer);
    mock.ends = mock.begins;
}

const struct quota_user *pool_user(uint64_t client)
{
    return store_client(&rig.service.store, client)->user;
}

int tell(uint32_t op, uint64_t client, uint64_t tag)
{
    struct link_request request = { .op = op, .tag = tag, .client = client };
    struct wire_fds none = WIRE_FDS_NONE;

    if (op == LINK_ALLOC)
        request.u.alloc = (struct link_alloc){ .size = tag, .page_size = PAGE_2M };
    else
        request.u.buffer = tag;
    return service_request(&rig.service, &request, sizeof(request), &none);
}

int ask(struct link_request request, int fd, struct wire_fds *fds)
{
    int error = rig_ask(&rig, &request, fd, &reply, fds);

    assert_true(error >= 0);
    return error;
}

int alloc(uint64_t client, uint64_t size, const struct dmabufd_constraints *constraints,
          struct wire_fds *fds)
{
    struct link_request request = { .op = LINK_ALLOC,
                                    .client = client,
                                    .u.alloc = { .size = size, .page_size = PAGE_2M } };

    if (constraints)
        request.u.alloc.constraints = *constraints;
    return ask(request, -1, fds);
}

int let_go(uint64_t client, uint64_t buffer)
{
    return ask((struct link_request){ .op = LINK_FREE, .client = client, .u.buffer = buffer }, -1,
               NULL);
}

int resize(uint64_t client, uint64_t page_size, uint64_t pages)
{
    return ask((struct link_request){ .op = LINK_POOL_RESIZE,
                                      .client = client,
                                      .u.pool_size = { .page_size = page_size, .pages = pages } },
               -1, NULL);
}

struct expected {
    const struct pool_set *set;
    uint64_t ready;
};

static bool is_ready(void *data)
{
    const struct expected *expected = data;

    return expected->set->ready == expected->ready && expected->set->jobs == 0 &&
           rig.service.jobs == 0;
}

void await_ready(struct pool_set *set, uint64_t bytes)
{
    struct expected expected = { set, bytes };

    assert_true(rig_await(&rig, is_ready, &expected));
}

void fill(uint64_t pages)
{
    assert_int_equal(resize(ADMIN, PAGE_2M, pages), 0);
    await_ready(pool_set_of(PAGE_2M), pages * PAGE_2M);
}
