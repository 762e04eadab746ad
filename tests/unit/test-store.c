/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * daemon/keeper/store.h: who holds what. Which buffer a descriptor is, is test-store-find.c's; limits of
 * users and of all are test-store-limits.c's.
 */
#include "tests/unit/cmocka-all.h"

#include <errno.h>
#include <string.h>

#include "common/cleanup.h"
#include "tests/unit/stock.h"

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
        assert_int_equal(store_reserve(&store, client, 1, &fault), 0);
    assert_int_equal(store_reserve(&store, client, 1, &fault), -EMFILE);
    assert_int_equal(fault.error, EMFILE);
    assert_int_equal(fault.code, DMABUFD_CODE_LIMIT);
    assert_non_null(strstr(fault.text, "--max-buffers"));
    assert_int_equal(client->held, BUFFERS);
    /* The limit is of each client. */
    assert_int_equal(store_reserve(&store, other, 1, &fault), 0);
    store_unreserve(&store, other, 1);
    store_unreserve(&store, client, 1);
    assert_int_equal(store_reserve(&store, client, 1, &fault), 0);
    for (uint32_t i = 0; i < BUFFERS; i++)
        store_unreserve(&store, client, 1);
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
    assert_int_equal(store_reserve(&store, client, 1, NULL), 0);
    assert_int_equal(store_add(&store, client, small, NULL), 0);
    assert_int_equal(store_reserve(&store, client, 1, NULL), 0);
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
        assert_int_equal(store_hold(&store, client, buffer, DMABUFD_READ_WRITE, NULL), 0);
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
    assert_int_equal(store_hold(&store, b, buffer, DMABUFD_READ_WRITE, NULL), 0);
    assert_int_equal(store_hold(&store, b, buffer, DMABUFD_READ_WRITE, NULL), 0);
    assert_int_equal(store_hold(&store, c, buffer, DMABUFD_READ_WRITE, NULL), 0);
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
    assert_int_equal(store_hold(&store, a, one_more, DMABUFD_READ_WRITE, &fault), -EMFILE);
    assert_int_equal(fault.error, EMFILE);
    assert_int_equal(fault.code, DMABUFD_CODE_LIMIT);
    assert_int_equal(one_more->holders, 1);
    assert_null(store_held(&store, a, one_more->id));
    /* One more hold of what it has is none more buffer. */
    assert_int_equal(store_hold(&store, a, buffers[0], DMABUFD_READ_WRITE, &fault), 0);
    for (size_t i = 0; i < BUFFERS; i++)
        drop(a, buffers[i], true, true);
    assert_int_equal(store_hold(&store, a, one_more, DMABUFD_READ_WRITE, &fault), 0);
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
            assert_int_equal(store_hold(&store, clients[j], buffers[i], DMABUFD_READ_WRITE, NULL),
                             0);
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
    assert_int_equal(store_hold(&store, client, buffer, DMABUFD_READ_WRITE, &fault), -EMFILE);
    assert_int_equal(fault.code, DMABUFD_CODE_LIMIT);
    assert_int_equal(store_held(&store, client, buffer->id)->count, UINT32_MAX);
    drop(client, buffer, true, true);
    store_client_free(&store, client);
}

/* The best right counts, and going back to a lesser one is by letting go of all. */
static void rights_of_holds(void **state)
{
    struct client *a = add_client(1), *b = add_client(2);
    struct buffer *buffer = add_buffer(a);

    (void)state;
    assert_int_equal(store_held(&store, a, buffer->id)->access, DMABUFD_READ_WRITE);
    assert_int_equal(store_hold(&store, b, buffer, DMABUFD_READ_ONLY, NULL), 0);
    assert_int_equal(store_hold(&store, b, buffer, DMABUFD_READ_ONLY, NULL), 0);
    assert_int_equal(store_held(&store, b, buffer->id)->access, DMABUFD_READ_ONLY);
    assert_int_equal(store_hold(&store, b, buffer, DMABUFD_READ_WRITE, NULL), 0);
    assert_int_equal(store_hold(&store, b, buffer, DMABUFD_READ_ONLY, NULL), 0);
    assert_int_equal(store_held(&store, b, buffer->id)->access, DMABUFD_READ_WRITE);
    drop(b, buffer, true, false);
    assert_int_equal(store_hold(&store, b, buffer, DMABUFD_READ_ONLY, NULL), 0);
    assert_int_equal(store_held(&store, b, buffer->id)->access, DMABUFD_READ_ONLY);
    drop(a, buffer, true, false);
    drop(b, buffer, true, true);
    store_client_free(&store, a);
    store_client_free(&store, b);
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
        TEST(rights_of_holds),
        TEST(deinit_of_zeroed),
    };

    return cmocka_run_group_tests_name("store", tests, NULL, NULL);
}
