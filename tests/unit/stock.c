/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A store to test with; see stock.h. */
#include "tests/unit/stock.h"

#include <sys/stat.h>

#include "common/memfd.h"
#include "tests/unit/cmocka-all.h"
#include "tests/unit/support.h"

struct store store;
static size_t fds;

int setup(void **state)
{
    (void)state;
    fds = support_fds();
    return store_init(
        &store, &(struct store_limits){
                    .clients = CLIENTS,
                    .buffers = 100 * BUFFERS,
                    .buffers_of_client = BUFFERS,
                    .shares = 2 * SHARES,
                    .user = { { [QUOTA_BUFFERS] = 10 * BUFFERS, [QUOTA_SHARES] = SHARES } } });
}

int teardown(void **state)
{
    bool empty = store.client_count == 0 && store.buffers.count == 0 && store.bytes == 0 &&
                 store.huge_bytes == 0 && store.shares == 0;

    (void)state;
    for (size_t i = 0; i < QUOTA_BUCKETS; i++)
        empty = empty && LIST_EMPTY(&store.quota.users[i]);
    store_deinit(&store);
    return empty && support_fds() == fds ? 0 : -1;
}

struct client *add_client(uint64_t id)
{
    const struct link_peer peer = PEER;

    assert_int_equal(store_client_new(&store, id, &peer), 0);
    assert_non_null(store_client(&store, id));
    return store_client(&store, id);
}

struct buffer *make_buffer(uint64_t size, uint64_t page_size)
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

struct buffer *add_buffer(struct client *client)
{
    struct buffer *buffer = make_buffer(PAGE_4K, PAGE_4K);

    assert_int_equal(store_reserve(&store, client, 1, NULL), 0);
    assert_int_equal(store_add(&store, client, buffer, NULL), 0);
    return buffer;
}

void drop(struct client *client, struct buffer *buffer, bool all, bool last)
{
    struct hold *hold = store_held(&store, client, buffer->id);

    assert_non_null(hold);
    assert_ptr_equal(store_drop(&store, hold, all), last ? buffer : NULL);
    if (last)
        buffer_free(buffer);
}
