/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * daemon/keeper/service.h: LINK_LIST, page by page. The buffers are put into the store as they are,
 * without memory, so that there can be many.
 */
#include "tests/unit/cmocka-all.h"

#include <string.h>

#include "common/cleanup.h"
#include "tests/unit/rig.h"

#define CLIENTS 4
#define BUFFERS 6000
#define K4      PAGE_4K

/* The places that one page looks at; part of what is promised to others. */
#define PLACES 1024

static struct rig rig;

static void tell(uint32_t op, uint64_t client)
{
    struct link_request request = { .op = op, .client = client };

    assert_int_equal(rig_send(&rig, &request, sizeof(request), -1), 0);
    rig_pump(&rig);
}

static int setup(void **state)
{
    (void)state;
    rig_open(&rig, rig_fake(NULL), CLIENTS, BUFFERS);
    tell(LINK_CLIENT_NEW, 1);
    tell(LINK_CLIENT_NEW, 2);
    return 0;
}

static struct client *client_of(uint64_t id)
{
    return store_client(&rig.service.store, id);
}

/* As at the end of an allocation. */
static uint64_t add(uint64_t client, uint32_t number)
{
    struct buffer *buffer = buffer_new();

    assert_non_null(buffer);
    buffer->size = number * K4;
    buffer->page_size = K4;
    buffer->span_count = number;
    assert_int_equal(store_reserve(&rig.service.store, client_of(client), 1, NULL), 0);
    assert_int_equal(store_add(&rig.service.store, client_of(client), buffer, NULL), 0);
    return buffer->id;
}

static void drop(uint64_t client, uint64_t id)
{
    struct hold *hold = store_held(&rig.service.store, client_of(client), id);

    assert_non_null(hold);
    buffer_free(store_drop(&rig.service.store, hold, true));
}

static int teardown(void **state)
{
    (void)state;
    for (uint64_t client = 1; client <= 2; client++) {
        uint32_t cursor = 0;
        struct hold *hold;

        while ((hold = slots_next(&client_of(client)->holds, &cursor)))
            buffer_free(store_drop(&rig.service.store, hold, true));
    }
    return rig_close(&rig) ? 0 : -1;
}

static uint64_t list_page(uint64_t client, uint64_t after, struct link_list *ret)
{
    struct link_request request = { .op = LINK_LIST, .client = client, .u.after = after };
    struct wire_fds fds = WIRE_FDS_NONE;
    struct link_reply reply;

    assert_int_equal(rig_send(&rig, &request, sizeof(request), -1), 0);
    assert_true(rig_receive(&rig, &reply, &fds));
    assert_int_equal(reply.op, LINK_LIST);
    assert_int_equal(reply.error, 0);
    assert_int_equal(fds.count, 0);
    assert_true(reply.u.list.count <= PROTO_LIST_PAGE);
    *ret = reply.u.list;
    return reply.u.list.next;
}

static void in_pages(void **state)
{
    static const uint64_t behind[] = { 128, UINT32_MAX, UINT64_C(1) << 32, UINT64_MAX };
    uint64_t ids[70], after = 0;
    struct link_list list;
    size_t seen = 0;

    (void)state;
    add(2, 1);
    for (uint32_t i = 0; i < ARRAY_LEN(ids); i++)
        ids[i] = add(1, i + 1);
    do {
        after = list_page(1, after, &list);
        for (uint32_t i = 0; i < list.count; i++, seen++) {
            assert_true(seen < ARRAY_LEN(ids));
            assert_int_equal(list.entries[i].id, ids[seen]);
            assert_int_equal(list.entries[i].size, (seen + 1) * K4);
            assert_int_equal(list.entries[i].span_count, seen + 1);
            assert_int_equal(list.entries[i].page_size, K4);
            assert_int_equal(list.entries[i].holds, 1);
            assert_int_equal(list.entries[i].holders, 1);
        }
    } while (after);
    assert_int_equal(seen, ARRAY_LEN(ids));
    /* Behind the last there is nothing. */
    for (size_t i = 0; i < ARRAY_LEN(behind); i++) {
        assert_int_equal(list_page(1, behind[i], &list), 0);
        assert_int_equal(list.count, 0);
    }
    /* The list goes on where it ended, even if what it ended with is gone. */
    after = list_page(1, 0, &list);
    drop(1, list.entries[PROTO_LIST_PAGE - 1].id);
    list_page(1, after, &list);
    assert_int_equal(list.entries[0].id, ids[PROTO_LIST_PAGE]);
    assert_int_equal(list_page(2, 0, &list), 0);
    assert_int_equal(list.count, 1);
}

static void of_exactly_one_page(void **state)
{
    struct link_list list;

    (void)state;
    assert_int_equal(list_page(1, 0, &list), 0);
    assert_int_equal(list.count, 0);
    for (uint32_t i = 0; i < PROTO_LIST_PAGE; i++)
        add(1, i + 1);
    assert_int_equal(list_page(1, 0, &list), 0);
    assert_int_equal(list.count, PROTO_LIST_PAGE);
}

/* What is held all the time is shown once, whatever comes and goes meanwhile. */
static void while_others_come_and_go(void **state)
{
    static unsigned int shown[1000];
    static uint64_t ids[1000];
    struct link_list list;
    uint64_t after = 0;
    size_t goes = 1;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(ids); i++)
        ids[i] = add(1, 1);
    do {
        after = list_page(1, after, &list);
        for (uint32_t i = 0; i < list.count; i++) {
            for (size_t j = 0; j < ARRAY_LEN(ids); j++)
                shown[j] += list.entries[i].id == ids[j];
        }
        /* Every other one goes, first and last by turns, and new ones take the places. */
        drop(1, ids[goes]);
        drop(1, ids[ARRAY_LEN(ids) - goes]);
        goes += 2;
        add(1, 1);
    } while (after);
    assert_true(goes > 60);
    for (size_t i = 0; i < ARRAY_LEN(ids); i += 2)
        assert_int_equal(shown[i], 1);
}

/* A page looks at so many places and no more, and the next one goes on behind them. */
static void of_a_few_left_over(void **state)
{
    static uint64_t ids[5 * PLACES];
    uint64_t after = 0, from;
    struct link_list list;
    unsigned int seen = 0;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(ids); i++)
        ids[i] = add(1, 1);
    for (size_t i = 0; i + 1 < ARRAY_LEN(ids); i++)
        drop(1, ids[i]);
    do {
        from = after;
        after = list_page(1, from, &list);
        assert_true(after == 0 || after == from + PLACES);
        for (uint32_t i = 0; i < list.count; i++, seen++)
            assert_int_equal(list.entries[i].id, ids[ARRAY_LEN(ids) - 1]);
    } while (after);
    assert_int_equal(seen, 1);
    /* What came last took the place that was left last. */
    add(1, 1);
    from = list_page(1, 4 * PLACES, &list);
    assert_int_equal(list.count, 2);
    assert_int_equal(from, 5 * PLACES);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(in_pages),
        TEST(of_exactly_one_page),
        TEST(while_others_come_and_go),
        TEST(of_a_few_left_over),
    };

    return cmocka_run_group_tests_name("service list", tests, NULL, NULL);
}
