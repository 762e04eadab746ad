/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * daemon/keeper/store.h: how much a user, or all together, can hold, and who is charged for a buffer
 * that several hold, from its request to its end. The buffers here are numbers only.
 */
#include "tests/unit/cmocka-all.h"

#include <errno.h>
#include <string.h>

#include "daemon/keeper/store.h"

#define CLIENTS 8
#define SIZE    (10 * PAGE_4K)

static struct store store;

static int setup(void **state)
{
    (void)state;
    return store_init(&store,
                      &(struct store_limits){ .clients = CLIENTS,
                                              .buffers = 100,
                                              .buffers_of_client = 50,
                                              .user = { { 50, 3 * SIZE, PAGE_2M, PAGE_1G } } });
}

static int teardown(void **state)
{
    int r = store.client_count || store.buffers.count || store.reserved ? -1 : 0;

    (void)state;
    for (size_t i = 0; i < QUOTA_BUCKETS; i++)
        r = LIST_EMPTY(&store.quota.users[i]) ? r : -1;
    for (size_t i = 0; i < STORE_HOLD_BUCKETS; i++)
        r = LIST_EMPTY(&store.stakes[i]) ? r : -1;
    store_deinit(&store);
    return r;
}

static struct client *add_client(uint64_t id, uint32_t uid)
{
    const struct link_peer peer = { .pid = 1, .uid = uid };

    assert_int_equal(store_client_new(&store, id, &peer), 0);
    return store_client(&store, id);
}

static uint64_t used(const struct client *client, enum quota_kind kind)
{
    return atomic_load(&client->user->used[kind]);
}

/* Up to the worker's part, which charges. */
static struct buffer *build(struct client *client, uint64_t size, uint64_t page_size)
{
    struct buffer *buffer = buffer_new();

    assert_non_null(buffer);
    assert_int_equal(store_reserve(&store, client, 1, NULL), 0);
    assert_int_equal(quota_charge(client->user, quota_kind_of(page_size), size, NULL), 0);
    buffer->payer = quota_again(client->user);
    buffer->size = buffer->charged = size;
    buffer->page_size = page_size;
    return buffer;
}

static struct buffer *add(struct client *client, uint64_t size, uint64_t page_size)
{
    struct buffer *buffer = build(client, size, page_size);

    assert_int_equal(store_add(&store, client, buffer, NULL), 0);
    return buffer;
}

/* The worker's part at the end. */
static void end(struct buffer *buffer)
{
    assert_non_null(buffer->payer);
    quota_release(buffer->payer, quota_kind_of(buffer->page_size), buffer->charged);
    buffer_free(buffer);
}

static struct buffer *drop(struct client *client, struct buffer *buffer)
{
    struct hold *hold = store_held(&store, client, buffer->id);

    assert_non_null(hold);
    return store_drop(&store, hold, true);
}

/* All connections of a user together; another user is not concerned. */
static void buffers_of_a_user(void **state)
{
    struct client *a, *b, *other;
    struct fault fault = { 0 };

    (void)state;
    store.quota.limits.most[QUOTA_BUFFERS] = 3;
    a = add_client(1, 1000);
    b = add_client(2, 1000);
    other = add_client(3, 1001);
    assert_ptr_equal(a->user, b->user);
    assert_ptr_not_equal(a->user, other->user);
    assert_int_equal(store_reserve(&store, a, 1, NULL), 0);
    assert_int_equal(store_reserve(&store, a, 1, NULL), 0);
    assert_int_equal(store_reserve(&store, b, 1, NULL), 0);
    assert_int_equal(store_reserve(&store, b, 1, &fault), -EMFILE);
    assert_int_equal(fault.code, DMABUFD_CODE_LIMIT);
    assert_int_equal(b->held, 1);
    assert_int_equal(store_reserve(&store, other, 1, NULL), 0);
    store_unreserve(&store, a, 1);
    assert_int_equal(store_reserve(&store, b, 1, NULL), 0);
    store_unreserve(&store, a, 1);
    store_unreserve(&store, b, 1);
    store_unreserve(&store, b, 1);
    store_unreserve(&store, other, 1);
    store_client_free(&store, a);
    /* The user lasts as long as the last connection. */
    assert_int_equal(b->user->references, 1);
    assert_int_equal(used(b, QUOTA_BUFFERS), 0);
    store_client_free(&store, b);
    store_client_free(&store, other);
}

static void buffers_of_all(void **state)
{
    struct client *a, *b;
    struct fault fault = { 0 };

    (void)state;
    store.limits.buffers = 2;
    a = add_client(1, 1000);
    b = add_client(2, 1001);
    assert_int_equal(store_reserve(&store, a, 1, NULL), 0);
    assert_int_equal(store_reserve(&store, b, 1, NULL), 0);
    assert_int_equal(store_reserve(&store, b, 1, &fault), -EMFILE);
    assert_int_equal(fault.code, DMABUFD_CODE_LIMIT);
    assert_int_equal(b->held, 1);
    assert_int_equal(used(b, QUOTA_BUFFERS), 1);
    assert_int_equal(store.reserved, 2);
    store_unreserve(&store, a, 1);
    assert_int_equal(store_reserve(&store, b, 1, NULL), 0);
    store_unreserve(&store, b, 1);
    store_unreserve(&store, b, 1);
    assert_int_equal(store.reserved, 0);
    store_client_free(&store, a);
    store_client_free(&store, b);
}

/* From the request until the memory is really gone, also when the client is gone before. */
static void charged_to_the_end(void **state)
{
    struct client *a = add_client(1, 1000), *b = add_client(2, 1000);
    struct buffer *buffer = add(a, SIZE, PAGE_4K);

    (void)state;
    assert_null(buffer->payer);
    assert_int_equal(used(a, QUOTA_SMALL), SIZE);
    assert_ptr_equal(drop(a, buffer), buffer);
    assert_ptr_equal(buffer->payer, a->user);
    store_client_free(&store, a);
    assert_int_equal(used(b, QUOTA_SMALL), SIZE);
    end(buffer);
    assert_int_equal(used(b, QUOTA_SMALL), 0);
    buffer = add(b, SIZE, PAGE_4K);
    drop(b, buffer);
    store_client_free(&store, b);
    /* The user outlives its last connection, for what is on its way out. */
    assert_int_equal(buffer->payer->uid, 1000);
    end(buffer);
}

static void page_sizes_are_apart(void **state)
{
    static const uint64_t sizes[] = { PAGE_4K, PAGE_2M, PAGE_1G };
    static const enum quota_kind kinds[] = { QUOTA_SMALL, QUOTA_2M, QUOTA_1G };
    struct client *client = add_client(1, 1000);
    struct buffer *buffers[3];

    (void)state;
    for (size_t i = 0; i < 3; i++)
        buffers[i] = add(client, sizes[i], sizes[i]);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(used(client, kinds[i]), sizes[i]);
        end(drop(client, buffers[i]));
        assert_int_equal(used(client, kinds[i]), 0);
    }
    store_client_free(&store, client);
}

/* A user pays once for a buffer, by however many of its clients it is held, and how often. */
static void user_pays_once(void **state)
{
    struct client *a = add_client(1, 1000), *b = add_client(2, 1000);
    struct buffer *buffer = add(a, 2 * SIZE, PAGE_4K);

    (void)state;
    assert_int_equal(store_hold(&store, b, buffer, DMABUFD_READ_WRITE, NULL), 0);
    assert_int_equal(store_hold(&store, b, buffer, DMABUFD_READ_WRITE, NULL), 0);
    assert_int_equal(store_hold(&store, a, buffer, DMABUFD_READ_WRITE, NULL), 0);
    assert_int_equal(used(a, QUOTA_SMALL), 2 * SIZE);
    assert_null(drop(a, buffer));
    assert_int_equal(used(b, QUOTA_SMALL), 2 * SIZE);
    end(drop(b, buffer));
    assert_int_equal(used(b, QUOTA_SMALL), 0);
    store_client_free(&store, a);
    store_client_free(&store, b);
}

/* Each user that holds it pays for all of it, so that whoever stays has paid. */
static void users_pay_each(void **state)
{
    struct client *a = add_client(1, 1000), *b = add_client(2, 1001);
    struct buffer *buffer = add(a, 2 * SIZE, PAGE_4K);

    (void)state;
    assert_int_equal(store_hold(&store, b, buffer, DMABUFD_READ_WRITE, NULL), 0);
    assert_int_equal(used(a, QUOTA_SMALL), 2 * SIZE);
    assert_int_equal(used(b, QUOTA_SMALL), 2 * SIZE);
    assert_null(drop(a, buffer));
    assert_int_equal(used(a, QUOTA_SMALL), 0);
    assert_int_equal(used(b, QUOTA_SMALL), 2 * SIZE);
    assert_ptr_equal(drop(b, buffer), buffer);
    assert_ptr_equal(buffer->payer, b->user);
    end(buffer);
    store_client_free(&store, a);
    store_client_free(&store, b);
}

static void holding_is_refused_at_the_limit(void **state)
{
    struct client *a = add_client(1, 1000), *b = add_client(2, 1001);
    struct buffer *shared = add(a, 2 * SIZE, PAGE_4K), *own = add(b, 2 * SIZE, PAGE_4K);
    struct fault fault = { 0 };

    (void)state;
    assert_int_equal(store_hold(&store, b, shared, DMABUFD_READ_WRITE, &fault), -ENOMEM);
    assert_int_equal(fault.code, DMABUFD_CODE_NO_MEMORY);
    assert_non_null(strstr(fault.text, "--memory-limit-per-user"));
    assert_null(store_held(&store, b, shared->id));
    assert_int_equal(b->held, 1);
    assert_int_equal(used(b, QUOTA_BUFFERS), 1);
    assert_int_equal(used(b, QUOTA_SMALL), 2 * SIZE);
    assert_int_equal(shared->holders, 1);
    end(drop(b, own));
    assert_int_equal(store_hold(&store, b, shared, DMABUFD_READ_WRITE, &fault), 0);
    assert_null(drop(b, shared));
    end(drop(a, shared));
    store_client_free(&store, a);
    store_client_free(&store, b);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(buffers_of_a_user),
        TEST(buffers_of_all),
        TEST(charged_to_the_end),
        TEST(page_sizes_are_apart),
        TEST(user_pays_once),
        TEST(users_pay_each),
        TEST(holding_is_refused_at_the_limit),
    };

    return cmocka_run_group_tests_name("store limits", tests, NULL, NULL);
}
