/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * daemon/keeper/service.h when something ends: a client, a broker, the daemon, the kernel's
 * patience. Whatever is under way at that moment, nothing is left behind, and nobody gets an answer
 * that is another's.
 */
#include "tests/unit/cmocka-all.h"

#include <errno.h>
#include <string.h>

#include "daemon/log.h"
#include "tests/unit/mock-backend.h"
#include "tests/unit/rig.h"
#include "tests/unit/support.h"

#define CLIENTS 4
#define BUFFERS 20
#define K4      PAGE_4K

static struct rig rig;
static struct mock mock;
static size_t fds_before;

static int setup(void **state)
{
    (void)state;
    log_open("keeper", false);
    fds_before = support_fds();
    mock_init(&mock);
    rig_open(&rig, &mock.base, CLIENTS, BUFFERS);
    return 0;
}

static int teardown(void **state)
{
    bool empty = rig_close(&rig);

    (void)state;
    mock_deinit(&mock);
    return empty && mock.disorder == 0 && support_fds() == fds_before ? 0 : -1;
}

/* Straight to the service, so that nothing else happens meanwhile. */
static int request(uint32_t op, uint64_t client, uint64_t number)
{
    struct link_request message = { .op = op, .tag = number, .client = client };
    struct wire_fds none = WIRE_FDS_NONE;

    if (op == LINK_ALLOC)
        message.u.alloc = (struct link_alloc){ .size = number, .page_size = K4 };
    else
        message.u.buffer = number;
    return service_request(&rig.service, &message, sizeof(message), &none);
}

static void expect_reply(uint32_t op, uint64_t tag, int error, struct link_reply *reply)
{
    struct wire_fds fds = WIRE_FDS_NONE;

    assert_true(rig_receive(&rig, reply, &fds));
    wire_fds_close(&fds);
    assert_int_equal(reply->op, op);
    assert_int_equal(reply->tag, tag);
    assert_int_equal(reply->error, error);
}

static uint64_t alloc(uint64_t client, uint64_t size)
{
    struct link_reply reply;

    assert_int_equal(request(LINK_ALLOC, client, size), 0);
    expect_reply(LINK_ALLOC, size, 0, &reply);
    return reply.u.buffer.id;
}

static void client_leaves_with_everything(void **state)
{
    (void)state;
    assert_int_equal(request(LINK_CLIENT_NEW, 1, 0), 0);
    for (uint64_t i = 1; i <= 5; i++)
        alloc(1, i * K4);
    assert_int_equal(rig.memory.charged, 15 * K4);
    assert_int_equal(request(LINK_CLIENT_GONE, 1, 0), 0);
    assert_int_equal(rig.service.jobs, 5);
    assert_true(rig_settle(&rig));
    assert_true(rig_empty(&rig));
    assert_int_equal(mock.ends, 5);
    /* Nobody is there to be answered. */
    assert_int_equal(rig_drain(&rig), 0);
}

static void client_leaves_while_building(void **state)
{
    (void)state;
    mock.gate_size = K4;
    assert_int_equal(request(LINK_CLIENT_NEW, 1, 0), 0);
    for (int i = 0; i < 5; i++)
        assert_int_equal(request(LINK_ALLOC, 1, 2 * BACKEND_PIECE), 0);
    assert_true(mock_await(&mock, 1));
    assert_int_equal(request(LINK_CLIENT_GONE, 1, 0), 0);
    assert_int_equal(rig.service.store.client_count, 0);
    mock_open(&mock);
    assert_true(rig_settle(&rig));
    assert_true(rig_empty(&rig));
    /* What waited never began, what was at work did not go on. */
    assert_true(mock.pins < 5);
    assert_int_equal(mock.pins, mock.unpins);
    assert_int_equal(mock.begins, mock.ends);
    assert_int_equal(rig_drain(&rig), 0);
}

/* Built, reported, but not yet collected. */
static void client_leaves_when_it_is_built(void **state)
{
    (void)state;
    assert_int_equal(request(LINK_CLIENT_NEW, 1, 0), 0);
    assert_int_equal(request(LINK_ALLOC, 1, K4), 0);
    assert_true(rig_await_worker(&rig));
    assert_int_equal(request(LINK_CLIENT_GONE, 1, 0), 0);
    assert_true(rig_settle(&rig));
    assert_true(rig_empty(&rig));
    assert_int_equal(mock.ends, 1);
    assert_int_equal(rig_drain(&rig), 0);
}

/* Another client in the same place does not get what the one before it asked for. */
static void place_is_taken_while_building(void **state)
{
    (void)state;
    mock.gate_size = K4;
    assert_int_equal(request(LINK_CLIENT_NEW, 1, 0), 0);
    assert_int_equal(request(LINK_ALLOC, 1, K4), 0);
    assert_true(mock_await(&mock, 1));
    assert_int_equal(request(LINK_CLIENT_GONE, 1, 0), 0);
    assert_int_equal(request(LINK_CLIENT_NEW, 1, 0), 0);
    mock_open(&mock);
    assert_true(rig_settle(&rig));
    assert_int_equal(store_client(&rig.service.store, 1)->held, 0);
    assert_int_equal(rig.service.store.buffers.count, 0);
    assert_int_equal(rig.memory.charged, 0);
    assert_int_equal(rig_drain(&rig), 0);
}

static void broker_ends_with_everything(void **state)
{
    (void)state;
    for (uint64_t client = 1; client <= CLIENTS; client++) {
        assert_int_equal(request(LINK_CLIENT_NEW, client, 0), 0);
        alloc(client, client * K4);
    }
    for (uint64_t client = 1; client <= CLIENTS; client++)
        assert_int_equal(request(LINK_ALLOC, client, K4), 0);
    rig_end_broker(&rig);
    assert_int_equal(rig.service.store.client_count, 0);
    assert_true(rig_settle(&rig));
    assert_true(rig_empty(&rig));
    assert_int_equal(mock.ends, mock.begins);
    rig_start_broker(&rig);
    /* Its clients are others, from 1 again. */
    assert_int_equal(request(LINK_CLIENT_NEW, 1, 0), 0);
    alloc(1, K4);
}

/* What the last broker asked is not answered to the next. */
static void answers_do_not_outlive_their_broker(void **state)
{
    struct link_reply reply;
    uint64_t buffer;

    (void)state;
    assert_int_equal(request(LINK_CLIENT_NEW, 1, 0), 0);
    buffer = alloc(1, K4);
    assert_int_equal(request(LINK_FREE, 1, buffer), 0);
    assert_int_equal(request(LINK_ALLOC, 1, 3 * K4), 0);
    rig_end_broker(&rig);
    rig_start_broker(&rig);
    assert_int_equal(request(LINK_CLIENT_NEW, 1, 0), 0);
    assert_true(rig_settle(&rig));
    assert_int_equal(rig_drain(&rig), 0);
    assert_int_equal(rig.memory.charged, 0);
    assert_int_equal(request(LINK_STATUS, 1, 5), 0);
    expect_reply(LINK_STATUS, 5, 0, &reply);
    assert_int_equal(reply.u.status.broker_starts, 2);
}

static void stop_when_idle(void **state)
{
    (void)state;
    service_stop(&rig.service);
    assert_int_equal(rig.idle, 1);
    rig_pump(&rig);
    assert_int_equal(rig.idle, 1);
}

static void stop_waits_for_what_is_at_work(void **state)
{
    (void)state;
    assert_int_equal(request(LINK_CLIENT_NEW, 1, 0), 0);
    alloc(1, K4);
    mock.gate_size = 2 * K4;
    assert_int_equal(request(LINK_ALLOC, 1, 2 * K4), 0);
    assert_true(mock_await(&mock, 1));
    service_stop(&rig.service);
    assert_int_equal(rig.idle, 0);
    assert_int_equal(rig.service.store.client_count, 0);
    mock_open(&mock);
    assert_true(rig_settle(&rig));
    assert_int_equal(rig.idle, 1);
    assert_true(rig_empty(&rig));
}

static void nothing_new_while_stopping(void **state)
{
    struct link_reply reply;

    (void)state;
    service_stop(&rig.service);
    assert_int_equal(request(LINK_CLIENT_NEW, 1, 0), 0);
    assert_int_equal(request(LINK_ALLOC, 1, K4), 0);
    expect_reply(LINK_ALLOC, K4, ESHUTDOWN, &reply);
    assert_int_equal(reply.u.fault.code, DMABUFD_CODE_SHUTTING_DOWN);
    assert_int_equal(rig.service.jobs, 0);
}

/* The kernel does not let go: the client is done with it, the memory is kept and told of. */
static void unreleasable_after_free(void **state)
{
    struct link_reply reply;
    struct buffer *kept;
    uint64_t buffer;

    (void)state;
    assert_int_equal(request(LINK_CLIENT_NEW, 1, 0), 0);
    buffer = alloc(1, 3 * K4);
    atomic_store(&mock.unpins_refused, 1);
    assert_int_equal(request(LINK_FREE, 1, buffer), 0);
    expect_reply(LINK_FREE, buffer, 0, &reply);
    assert_int_equal(request(LINK_STATUS, 1, 5), 0);
    expect_reply(LINK_STATUS, 5, 0, &reply);
    assert_int_equal(reply.u.status.unreleasable_bytes, 3 * K4);
    assert_int_equal(reply.u.status.buffers, 0);
    assert_int_equal(reply.u.status.bytes, 0);
    assert_int_equal(rig.memory.charged, 3 * K4);
    kept = LIST_FIRST(&rig.service.kept);
    assert_non_null(kept);
    assert_true(kept->fd >= 0);
    assert_int_equal(kept->mapping.pinned, 3 * K4);
    /* So that the end of the test finds nothing else. */
    rig.service.unreleasable = 0;
    memory_release(&rig.memory, 3 * K4, K4);
    kept->mapping.pinned = 0;
}

static void unreleasable_after_a_failed_build(void **state)
{
    struct link_reply reply;

    (void)state;
    mock.pin_fails = 2;
    atomic_store(&mock.unpins_refused, 1);
    assert_int_equal(request(LINK_CLIENT_NEW, 1, 0), 0);
    assert_int_equal(request(LINK_ALLOC, 1, 2 * BACKEND_PIECE), 0);
    expect_reply(LINK_ALLOC, 2 * BACKEND_PIECE, EIO, &reply);
    assert_int_equal(store_client(&rig.service.store, 1)->held, 0);
    assert_int_equal(rig.service.unreleasable, BACKEND_PIECE);
    assert_non_null(LIST_FIRST(&rig.service.kept));
    assert_int_equal(rig.service.store.buffers.count, 0);
    rig.service.unreleasable = 0;
    memory_release(&rig.memory, 2 * BACKEND_PIECE, K4);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(client_leaves_with_everything),
        TEST(client_leaves_while_building),
        TEST(client_leaves_when_it_is_built),
        TEST(place_is_taken_while_building),
        TEST(broker_ends_with_everything),
        TEST(answers_do_not_outlive_their_broker),
        TEST(stop_when_idle),
        TEST(stop_waits_for_what_is_at_work),
        TEST(nothing_new_while_stopping),
        TEST(unreleasable_after_free),
        TEST(unreleasable_after_a_failed_build),
    };

    return cmocka_run_group_tests_name("service ends", tests, NULL, NULL);
}
