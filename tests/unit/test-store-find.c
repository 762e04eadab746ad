/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * daemon/keeper/store.h: which buffer a descriptor is, and the second, read-only file that a buffer can
 * have. The buffers here have a memfd and numbers, no pages; so inode numbers can be made to collide.
 */
#include "tests/unit/cmocka-all.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "common/cleanup.h"
#include "common/memfd.h"
#include "tests/unit/stock.h"
#include "tests/unit/support.h"

static enum dmabufd_access right; /* of what was found last */

static void assert_foreign(int fd)
{
    struct buffer *found = (struct buffer *)77;
    struct fault fault = { 0 };

    assert_int_equal(store_find(&store, fd, &found, &right, &fault), -ENXIO);
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
    assert_int_equal(store_find(&store, copy, &found, &right, NULL), 0);
    assert_ptr_equal(found, buffer);
    found = NULL;
    assert_int_equal(store_find(&store, buffer->fd, &found, &right, NULL), 0);
    assert_ptr_equal(found, buffer);
    assert_int_equal(right, DMABUFD_READ_WRITE);
    /* Another open file on the same memory proves nothing, unless it is the one that is shared; nor
     * does the like. */
    assert_foreign(readonly);
    assert_int_equal(store_share(&store, client, buffer, NULL), 0);
    assert_foreign(readonly);
    assert_int_equal(store_find(&store, buffer->readonly_fd, &found, &right, NULL), 0);
    assert_int_equal(right, DMABUFD_READ_ONLY);
    assert_int_equal(store_find(&store, copy, &found, &right, NULL), 0);
    assert_int_equal(right, DMABUFD_READ_WRITE);
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
    assert_int_equal(store_find(&store, -1, &found, &right, &fault), -ENXIO);
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
        assert_int_equal(store_reserve(&store, client, 1, NULL), 0);
        assert_int_equal(store_add(&store, client, buffers[i], NULL), 0);
    }
    assert_foreign(foreign);
    assert_int_equal(store_share(&store, client, buffers[2], NULL), 0);
    assert_foreign(foreign);
    /* And one of them is the file in truth. */
    assert_int_equal(dup2(foreign, buffers[1]->fd), buffers[1]->fd);
    assert_int_equal(store_find(&store, foreign, &found, &right, NULL), 0);
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
    assert_int_equal(store_reserve(&store, client, 1, NULL), 0);
    assert_int_equal(store_add(&store, client, buffer, NULL), 0);
    assert_foreign(copy);
    buffer->ino = ino;
    buffer->dev++;
    assert_foreign(copy);
    drop(client, buffer, true, true);
    store_client_free(&store, client);
}

static void share(struct client *client, struct buffer *buffer, int error)
{
    struct fault fault = { 0 };
    int before = buffer->readonly_fd;

    assert_int_equal(store_share(&store, client, buffer, &fault), -error);
    assert_int_equal(fault.error, error);
    if (error)
        assert_int_equal(buffer->readonly_fd, before);
    else
        assert_int_equal(fcntl(buffer->readonly_fd, F_GETFL) & O_ACCMODE, O_RDONLY);
}

/* One file for all who want one. */
static void shared_once(void **state)
{
    struct client *a = add_client(1), *b = add_client(2);
    struct buffer *buffer = add_buffer(a);
    size_t before = support_fds();
    int fd;

    (void)state;
    share(a, buffer, 0);
    fd = buffer->readonly_fd;
    share(a, buffer, 0);
    share(b, buffer, 0);
    assert_int_equal(buffer->readonly_fd, fd);
    assert_int_equal(support_fds(), before + 1);
    assert_int_equal(store.shares, 1);
    assert_int_equal(atomic_load(&a->user->used[QUOTA_SHARES]), 1);
    drop(a, buffer, true, true);
    assert_int_equal(store.shares, 0);
    assert_int_equal(atomic_load(&a->user->used[QUOTA_SHARES]), 0);
    store_client_free(&store, a);
    store_client_free(&store, b);
}

static void registered_memory_is_not_shared(void **state)
{
    struct client *client = add_client(1);
    struct buffer *buffer = make_buffer(PAGE_4K, PAGE_4K);

    (void)state;
    buffer->registered = true;
    assert_int_equal(store_reserve(&store, client, 1, NULL), 0);
    assert_int_equal(store_add(&store, client, buffer, NULL), 0);
    share(client, buffer, EOPNOTSUPP);
    drop(client, buffer, true, true);
    store_client_free(&store, client);
}

/* They count against the user that wanted them, also when it has left and others hold the buffers. */
static void limits_of_shares(void **state)
{
    struct client *client[3], *other[] = { add_client(4), add_client(5) };
    struct buffer *buffers[2 * SHARES + 1];

    (void)state;
    for (uint64_t i = 0; i < ARRAY_LEN(client); i++) {
        const struct link_peer peer = { .pid = 1, .uid = 2000 + (uint32_t)i, .gid = 1 };

        assert_int_equal(store_client_new(&store, 1 + i, &peer), 0);
        client[i] = store_client(&store, 1 + i);
    }
    for (size_t i = 0; i < ARRAY_LEN(buffers); i++) {
        buffers[i] = add_buffer(client[i / SHARES]);
        assert_int_equal(store_hold(&store, other[i % 2], buffers[i], DMABUFD_READ_ONLY, NULL), 0);
    }
    for (size_t i = 0; i < SHARES; i++)
        share(client[0], buffers[i], 0);
    share(client[0], buffers[SHARES], EMFILE);
    for (size_t i = 0; i < SHARES; i++)
        drop(client[0], buffers[i], true, false);
    store_client_free(&store, client[0]);
    assert_int_equal(store.shares, SHARES);
    assert_int_equal(store_client_new(&store, 1, &(struct link_peer){ 1, 2000, 1, 0 }), 0);
    client[0] = store_client(&store, 1);
    share(client[0], buffers[SHARES], EMFILE);
    for (size_t i = SHARES; i < 2 * SHARES; i++)
        share(client[1], buffers[i], 0);
    /* All together, then with one less. */
    share(client[2], buffers[2 * SHARES], EMFILE);
    drop(other[0], buffers[0], true, true);
    share(client[0], buffers[2 * SHARES], 0);
    for (size_t i = 1; i < ARRAY_LEN(buffers); i++)
        drop(other[i % 2], buffers[i], true, i < SHARES);
    for (size_t i = SHARES; i < ARRAY_LEN(buffers); i++)
        drop(client[i / SHARES], buffers[i], true, true);
    for (size_t i = 0; i < ARRAY_LEN(client); i++)
        store_client_free(&store, client[i]);
    store_client_free(&store, other[0]);
    store_client_free(&store, other[1]);
}

static void no_descriptor_for_a_share(void **state)
{
    struct client *client = add_client(1);
    struct buffer *buffer = add_buffer(client);
    uint64_t saved = support_leave_room(0);
    struct fault fault = { 0 };
    int r = store_share(&store, client, buffer, &fault);

    (void)state;
    support_restore_room(saved);
    assert_int_equal(r, -EMFILE);
    assert_int_equal(fault.code, DMABUFD_CODE_LIMIT);
    assert_int_equal(store.shares, 0);
    drop(client, buffer, true, true);
    store_client_free(&store, client);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(finds_dups_only),
        TEST(find_of_no_descriptor),
        TEST(colliding_inode_numbers),
        TEST(near_misses_are_not_asked),
        TEST(shared_once),
        TEST(registered_memory_is_not_shared),
        TEST(limits_of_shares),
        TEST(no_descriptor_for_a_share),
    };

    return cmocka_run_group_tests_name("store-find", tests, NULL, NULL);
}
