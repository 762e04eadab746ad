/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * daemon/keeper/store.h: who holds what, and which buffer a descriptor is. The buffers here have a
 * memfd and numbers, no pages; so inode numbers can be made to collide. Limits of users and of all are
 * test-store-limits.c's.
 */
#include "tests/unit/cmocka-all.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "common/cleanup.h"
#include "common/memfd.h"
#include "daemon/keeper/store.h"
#include "tests/unit/support.h"

#define CLIENTS 8
#define BUFFERS 4
#define PEER                                 \
    {                                        \
        .pid = 100, .uid = 1000, .gid = 1000 \
    }

static struct store store;
static size_t fds;

static int setup(void **state)
{
    (void)state;
    fds = support_fds();
    return store_init(&store, &(struct store_limits){ .clients = CLIENTS,
                                                      .buffers = 100 * BUFFERS,
                                                      .buffers_of_client = BUFFERS,
                                                      .user = { { 10 * BUFFERS } } });
}

static int teardown(void **state)
{
    bool empty = store.client_count == 0 && store.buffers.count == 0 && store.bytes == 0 &&
                 store.huge_bytes == 0;

    (void)state;
    store_deinit(&store);
    return empty && support_fds() == fds ? 0 : -1;
}

static struct client *add_client(uint64_t id)
{
    const struct link_peer peer = PEER;

    assert_int_equal(store_client_new(&store, id, &peer), 0);
    assert_non_null(store_client(&store, id));
    return store_client(&store, id);
}

static struct buffer *make_buffer(uint64_t size, uint64_t page_size)
{
    struct buffer *buffer = buffer_new();
    struct stat st;

    assert_non_null(buffer);
    assert_int_equal(memfd_open("unit-test", 0, &buffer->fd), 0);
    assert_int_equal(fstat(buffer->fd, &st), 0);
    buffer->size = size;
    buffer->page_size = page_size;
    buffer->dev = st.st_dev;
    buffer->ino = st.st_ino;
    return buffer;
}

/* As at the end of an allocation. */
static struct buffer *add_buffer(struct client *client)
{
    struct buffer *buffer = make_buffer(PAGE_4K, PAGE_4K);

    assert_int_equal(store_reserve(&store, client, NULL), 0);
    assert_int_equal(store_add(&store, client, buffer, NULL), 0);
    return buffer;
}

/* Drops one hold, or all, and expects it to be, or not, the last of anybody. */
static void drop(struct client *client, struct buffer *buffer, bool all, bool last)
{
    struct hold *hold = store_held(&store, client, buffer->id);

    assert_non_null(hold);
    assert_ptr_equal(store_drop(&store, hold, all), last ? buffer : NULL);
    if (last)
        buffer_free(buffer);
}

static void ids_of_clients(void **state)
{
    static const uint64_t bad[] = {
        0, UINT64_C(1) << 32, CLIENTS + 1, UINT32_MAX, UINT64_MAX, UINT64_C(5) << 32 | (CLIENTS + 1)
    };
    const struct link_peer peer = PEER;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_int_equal(store_client_new(&store, bad[i], &peer), -EINVAL);
        assert_null(store_client(&store, bad[i]));
    }
    assert_int_equal(store.client_count, 0);
    for (uint64_t id = 1; id <= CLIENTS; id++)
        assert_int_equal(add_client(id)->held, 0);
    assert_int_equal(store.client_count, CLIENTS);
    for (uint64_t id = 1; id <= CLIENTS; id++) {
        assert_int_equal(store_client(&store, id)->id, id);
        /* Taken, also under an id that looks newer. */
        assert_int_equal(store_client_new(&store, id, &peer), -EINVAL);
        assert_int_equal(store_client_new(&store, UINT64_C(7) << 32 | id, &peer), -EINVAL);
        assert_null(store_client(&store, UINT64_C(7) << 32 | id));
    }
    for (uint64_t id = 1; id <= CLIENTS; id++)
        store_client_free(&store, store_client(&store, id));
}

static void place_of_a_client_is_used_again(void **state)
{
    struct client *client = add_client(3);

    (void)state;
    assert_int_equal(client->peer.pid, 100);
    assert_int_equal(client->peer.uid, 1000);
    store_client_free(&store, client);
    assert_null(store_client(&store, 3));
    client = add_client(UINT64_C(1) << 32 | 3);
    assert_null(store_client(&store, 3));
    store_client_free(&store, client);
}

static void reservations_count(void **state)
{
    struct client *client = add_client(1), *other = add_client(2);
    struct fault fault = { 0 };

    (void)state;
    for (uint32_t i = 0; i < BUFFERS; i++)
        assert_int_equal(store_reserve(&store, client, &fault), 0);
    assert_int_equal(store_reserve(&store, client, &fault), -EMFILE);
    assert_int_equal(fault.error, EMFILE);
    assert_int_equal(fault.code, DMABUFD_CODE_LIMIT);
    assert_non_null(strstr(fault.text, "--max-buffers"));
    assert_int_equal(client->held, BUFFERS);
    /* The limit is of each client. */
    assert_int_equal(store_reserve(&store, other, &fault), 0);
    store_unreserve(&store, other);
    store_unreserve(&store, client);
    assert_int_equal(store_reserve(&store, client, &fault), 0);
    for (uint32_t i = 0; i < BUFFERS; i++)
        store_unreserve(&store, client);
    assert_int_equal(client->held, 0);
    store_client_free(&store, client);
    store_client_free(&store, other);
}

static void add_and_drop(void **state)
{
    struct client *client = add_client(1);
    struct buffer *small = make_buffer(3 * PAGE_4K, PAGE_4K);
    struct buffer *huge = make_buffer(PAGE_2M, PAGE_2M);
    uint64_t small_id;

    (void)state;
    assert_int_equal(store_reserve(&store, client, NULL), 0);
    assert_int_equal(store_add(&store, client, small, NULL), 0);
    assert_int_equal(store_reserve(&store, client, NULL), 0);
    assert_int_equal(store_add(&store, client, huge, NULL), 0);
    assert_int_equal(client->held, 2);
    assert_int_equal(store.buffers.count, 2);
    assert_int_equal(store.bytes, 3 * PAGE_4K + PAGE_2M);
    assert_int_equal(store.huge_bytes, PAGE_2M);
    assert_int_not_equal(small->id, 0);
    assert_int_not_equal(small->id, huge->id);
    assert_int_equal(store_held(&store, client, small->id)->count, 1);
    assert_ptr_equal(store_held(&store, client, small->id)->buffer, small);
    small_id = small->id;
    drop(client, small, false, true);
    assert_int_equal(client->held, 1);
    assert_int_equal(store.bytes, PAGE_2M);
    assert_null(store_held(&store, client, small_id));
    assert_null(store_held(&store, client, 0));
    assert_null(store_held(&store, client, UINT64_MAX));
    drop(client, huge, true, true);
    assert_int_equal(store.huge_bytes, 0);
    store_client_free(&store, client);
}

/* Each look-up is a hold of its own; only the first of a client counts against its limit. */
static void holds_of_one_client(void **state)
{
    struct client *client = add_client(1);
    struct buffer *buffer = add_buffer(client);

    (void)state;
    for (int i = 0; i < 10; i++)
        assert_int_equal(store_hold(&store, client, buffer, NULL), 0);
    assert_int_equal(client->held, 1);
    assert_int_equal(buffer->holders, 1);
    assert_int_equal(store_held(&store, client, buffer->id)->count, 11);
    for (int i = 0; i < 10; i++)
        drop(client, buffer, false, false);
    assert_int_equal(client->held, 1);
    drop(client, buffer, false, true);
    assert_int_equal(client->held, 0);
    store_client_free(&store, client);
}

static void holds_of_several_clients(void **state)
{
    struct client *a = add_client(1), *b = add_client(2), *c = add_client(3);
    struct buffer *buffer = add_buffer(a);

    (void)state;
    assert_null(store_held(&store, b, buffer->id));
    assert_int_equal(store_hold(&store, b, buffer, NULL), 0);
    assert_int_equal(store_hold(&store, b, buffer, NULL), 0);
    assert_int_equal(store_hold(&store, c, buffer, NULL), 0);
    assert_int_equal(buffer->holders, 3);
    assert_int_equal(b->held, 1);
    assert_int_equal(store.bytes, PAGE_4K);
    /* Who made it may go first. */
    drop(a, buffer, false, false);
    assert_null(store_held(&store, a, buffer->id));
    assert_int_equal(buffer->holders, 2);
    drop(b, buffer, true, false);
    assert_int_equal(b->held, 0);
    drop(c, buffer, true, true);
    store_client_free(&store, a);
    store_client_free(&store, b);
    store_client_free(&store, c);
}

static void holding_has_the_same_limit(void **state)
{
    struct client *a = add_client(1), *b = add_client(2);
    struct buffer *buffers[BUFFERS], *one_more;
    struct fault fault = { 0 };

    (void)state;
    one_more = add_buffer(b);
    for (size_t i = 0; i < BUFFERS; i++)
        buffers[i] = add_buffer(a);
    assert_int_equal(store_hold(&store, a, one_more, &fault), -EMFILE);
    assert_int_equal(fault.error, EMFILE);
    assert_int_equal(fault.code, DMABUFD_CODE_LIMIT);
    assert_int_equal(one_more->holders, 1);
    assert_null(store_held(&store, a, one_more->id));
    /* One more hold of what it has is none more buffer. */
    assert_int_equal(store_hold(&store, a, buffers[0], &fault), 0);
    for (size_t i = 0; i < BUFFERS; i++)
        drop(a, buffers[i], true, true);
    assert_int_equal(store_hold(&store, a, one_more, &fault), 0);
    drop(b, one_more, true, false);
    drop(a, one_more, true, true);
    store_client_free(&store, a);
    store_client_free(&store, b);
}

static size_t longest_bucket(void)
{
    size_t longest = 0;

    for (size_t i = 0; i < STORE_HOLD_BUCKETS; i++) {
        struct hold *hold;
        size_t length = 0;

        LIST_FOREACH (hold, &store.holds[i], bucket_link)
            length++;
        longest = length > longest ? length : longest;
    }
    return longest;
}

/* However many hold a buffer, and however many one of them holds, it is found without a walk. */
static void finding_a_hold_is_no_walk(void **state)
{
    struct client *clients[CLIENTS];
    struct buffer *buffers[100];

    (void)state;
    store.limits.buffers_of_client = 100;
    store.limits.buffers = 100 * CLIENTS;
    store.quota.limits.most[QUOTA_BUFFERS] = 100 * CLIENTS;
    for (size_t i = 0; i < CLIENTS; i++)
        clients[i] = add_client(1 + i);
    for (size_t i = 0; i < ARRAY_LEN(buffers); i++) {
        buffers[i] = add_buffer(clients[0]);
        for (size_t j = 1; j < CLIENTS; j++)
            assert_int_equal(store_hold(&store, clients[j], buffers[i], NULL), 0);
    }
    assert_true(longest_bucket() <= 2);
    for (size_t i = 0; i < ARRAY_LEN(buffers); i++) {
        for (size_t j = 0; j < CLIENTS; j++) {
            struct hold *hold = store_held(&store, clients[j], buffers[i]->id);

            assert_non_null(hold);
            assert_ptr_equal(hold->client, clients[j]);
            assert_ptr_equal(hold->buffer, buffers[i]);
        }
        for (size_t j = 0; j < CLIENTS; j++)
            drop(clients[j], buffers[i], true, j + 1 == CLIENTS);
    }
    assert_int_equal(longest_bucket(), 0);
    for (size_t i = 0; i < CLIENTS; i++)
        store_client_free(&store, clients[i]);
}

static void holds_do_not_wrap(void **state)
{
    struct client *client = add_client(1);
    struct buffer *buffer = add_buffer(client);
    struct fault fault = { 0 };

    (void)state;
    store_held(&store, client, buffer->id)->count = UINT32_MAX;
    assert_int_equal(store_hold(&store, client, buffer, &fault), -EMFILE);
    assert_int_equal(fault.code, DMABUFD_CODE_LIMIT);
    assert_int_equal(store_held(&store, client, buffer->id)->count, UINT32_MAX);
    drop(client, buffer, true, true);
    store_client_free(&store, client);
}

static void assert_foreign(int fd)
{
    struct buffer *found = (struct buffer *)77;
    struct fault fault = { 0 };

    assert_int_equal(store_find(&store, fd, &found, &fault), -ENXIO);
    assert_ptr_equal(found, (struct buffer *)77);
    assert_int_equal(fault.error, ENXIO);
    assert_int_equal(fault.code, DMABUFD_CODE_NOT_A_BUFFER);
}

static void finds_dups_only(void **state)
{
    struct client *client;
    struct buffer *buffer, *found = NULL;
    CLEANUP_FD int copy = -1;
    CLEANUP_FD int readonly = -1;
    CLEANUP_FD int foreign = -1;
    CLEANUP_FD int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    (void)state;
    if (memfd_same(null, null) < 0)
        skip();
    client = add_client(1);
    buffer = add_buffer(client);
    copy = fcntl(buffer->fd, F_DUPFD_CLOEXEC, 0);
    assert_int_equal(memfd_reopen_readonly(buffer->fd, &readonly), 0);
    assert_int_equal(memfd_open("dmabufd", 0, &foreign), 0);
    assert_int_equal(store_find(&store, copy, &found, NULL), 0);
    assert_ptr_equal(found, buffer);
    found = NULL;
    assert_int_equal(store_find(&store, buffer->fd, &found, NULL), 0);
    assert_ptr_equal(found, buffer);
    /* Another open file on the same memory proves nothing; nor does the like. */
    assert_foreign(readonly);
    assert_foreign(foreign);
    assert_foreign(null);
    drop(client, buffer, true, true);
    assert_foreign(copy);
    store_client_free(&store, client);
}

static void find_of_no_descriptor(void **state)
{
    struct buffer *found = NULL;
    struct fault fault = { 0 };

    (void)state;
    assert_int_equal(store_find(&store, -1, &found, &fault), -ENXIO);
    assert_int_equal(fault.code, DMABUFD_CODE_NOT_A_BUFFER);
    assert_null(found);
}

/* Inode numbers wrap: three files that all say they are the same one. */
static void colliding_inode_numbers(void **state)
{
    struct client *client;
    struct buffer *buffers[3], *found;
    CLEANUP_FD int foreign = -1;
    struct stat st;

    (void)state;
    assert_int_equal(memfd_open("dmabufd", 0, &foreign), 0);
    assert_int_equal(fstat(foreign, &st), 0);
    if (memfd_same(foreign, foreign) < 0)
        skip();
    client = add_client(1);
    for (size_t i = 0; i < 3; i++) {
        buffers[i] = make_buffer(PAGE_4K, PAGE_4K);
        buffers[i]->dev = st.st_dev;
        buffers[i]->ino = st.st_ino;
        assert_int_equal(store_reserve(&store, client, NULL), 0);
        assert_int_equal(store_add(&store, client, buffers[i], NULL), 0);
    }
    assert_foreign(foreign);
    /* And one of them is the file in truth. */
    assert_int_equal(dup2(foreign, buffers[1]->fd), buffers[1]->fd);
    assert_int_equal(store_find(&store, foreign, &found, NULL), 0);
    assert_ptr_equal(found, buffers[1]);
    for (size_t i = 0; i < 3; i++)
        drop(client, buffers[i], true, true);
    store_client_free(&store, client);
}

/* The same number on another file system, and another number in the same bucket. */
static void near_misses_are_not_asked(void **state)
{
    struct client *client = add_client(1);
    struct buffer *buffer = make_buffer(PAGE_4K, PAGE_4K);
    CLEANUP_FD int copy = fcntl(buffer->fd, F_DUPFD_CLOEXEC, 0);
    ino_t ino = buffer->ino;

    (void)state;
    buffer->ino = ino + STORE_INODE_BUCKETS;
    assert_int_equal(store_reserve(&store, client, NULL), 0);
    assert_int_equal(store_add(&store, client, buffer, NULL), 0);
    assert_foreign(copy);
    buffer->ino = ino;
    buffer->dev++;
    assert_foreign(copy);
    drop(client, buffer, true, true);
    store_client_free(&store, client);
}

static void deinit_of_zeroed(void **state)
{
    struct store zeroed = { 0 };

    (void)state;
    store_deinit(&zeroed);
    assert_null(zeroed.clients);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(ids_of_clients),
        TEST(place_of_a_client_is_used_again),
        TEST(reservations_count),
        TEST(add_and_drop),
        TEST(holds_of_one_client),
        TEST(holds_of_several_clients),
        TEST(holding_has_the_same_limit),
        TEST(finding_a_hold_is_no_walk),
        TEST(holds_do_not_wrap),
        TEST(finds_dups_only),
        TEST(find_of_no_descriptor),
        TEST(colliding_inode_numbers),
        TEST(near_misses_are_not_asked),
        TEST(deinit_of_zeroed),
    };

    return cmocka_run_group_tests_name("store", tests, NULL, NULL);
}
