/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * daemon/keeper/service.h: what an honest broker gets for its requests. What a compromised one gets
 * is in test-service-hostile.c.
 */
#include "tests/unit/cmocka-all.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "common/cleanup.h"
#include "proto/spantable.h"
#include "tests/unit/mock-backend.h"
#include "tests/unit/rig.h"
#include "tests/unit/support.h"

#define CLIENTS 4
#define BUFFERS 80
#define K4      PAGE_4K

static struct rig rig;
static size_t fds_before;

static void begin(struct backend *backend)
{
    fds_before = support_fds();
    rig_open(&rig, backend, CLIENTS, BUFFERS);
}

static void finish(void)
{
    assert_true(rig_close(&rig));
    assert_int_equal(support_fds(), fds_before);
}

static void tell(uint32_t op, uint64_t client)
{
    struct link_request request = { .op = op, .client = client, .u.peer = { 1, 2, 3, 0 } };

    assert_int_equal(rig_send(&rig, &request, sizeof(request), -1), 0);
    rig_pump(&rig);
    assert_false(rig.ended);
}

/* Sends and waits. Return: the positive errno of the reply. @fds: of the reply, or NULL to drop. */
static int ask(struct link_request *request, int fd, struct link_reply *reply, struct wire_fds *fds)
{
    int error = rig_ask(&rig, request, fd, reply, fds);

    assert_true(error >= 0);
    return error;
}

static int alloc(uint64_t client, uint64_t size, uint64_t page_size, struct link_reply *reply,
                 struct wire_fds *fds)
{
    struct link_request request = { .op = LINK_ALLOC,
                                    .client = client,
                                    .u.alloc = { .size = size, .page_size = page_size } };

    return ask(&request, -1, reply, fds);
}

static uint64_t alloc_well(uint64_t client, uint64_t size)
{
    struct link_reply reply;

    assert_int_equal(alloc(client, size, 0, &reply, NULL), 0);
    return reply.u.buffer.id;
}

static int free_one(uint64_t client, uint64_t buffer, struct link_reply *reply)
{
    struct link_request request = { .op = LINK_FREE, .client = client, .u.buffer = buffer };

    return ask(&request, -1, reply, NULL);
}

static int lookup(uint64_t client, int fd, struct link_reply *reply, struct wire_fds *fds)
{
    struct link_request request = { .op = LINK_LOOKUP, .client = client };

    return ask(&request, fd, reply, fds);
}

static struct link_status status(uint64_t client)
{
    struct link_request request = { .op = LINK_STATUS, .client = client };
    struct link_reply reply;

    assert_int_equal(ask(&request, -1, &reply, NULL), 0);
    return reply.u.status;
}

static void allocate_and_free(void **state)
{
    CLEANUP_FDS struct wire_fds fds = WIRE_FDS_NONE;
    struct link_reply reply;
    uint64_t id;
    struct stat st;

    (void)state;
    begin(rig_fake("layout=run:8K"));
    tell(LINK_CLIENT_NEW, 1);
    assert_int_equal(alloc(1, 5 * K4 - 1, K4, &reply, &fds), 0);
    assert_int_equal(fds.count, 1);
    assert_int_equal(reply.u.buffer.size, 5 * K4);
    assert_int_equal(reply.u.buffer.page_size, K4);
    assert_int_equal(reply.u.buffer.mode, DMABUFD_MODE_FAKE);
    assert_int_equal(reply.u.buffer.pin, DMABUFD_PIN_NONE);
    assert_int_equal(reply.u.buffer.span_count, 3);
    assert_int_equal(spans_check(reply.u.buffer.spans, 3, 5 * K4), 0);
    assert_int_equal(fstat(fds.fd[0], &st), 0);
    assert_int_equal(st.st_size, 5 * K4);
    assert_int_equal(st.st_mode & 0777, 0600);
    id = reply.u.buffer.id;
    assert_int_not_equal(id, 0);
    assert_int_equal(rig.memory.charged, 5 * K4);
    assert_int_equal(status(1).pinned, 1);
    assert_int_equal(free_one(1, id, &reply), 0);
    /* Answered when it is gone, not before. */
    assert_int_equal(rig.memory.charged, 0);
    assert_int_equal(status(1).pinned, 0);
    assert_int_equal(free_one(1, id, &reply), ENOENT);
    assert_int_equal(reply.u.fault.code, DMABUFD_CODE_NOT_HELD);
    wire_fds_close(&fds);
    finish();
}

static void long_list_comes_as_a_table(void **state)
{
    CLEANUP_FDS struct wire_fds fds = WIRE_FDS_NONE;
    CLEANUP_FDS struct wire_fds again = WIRE_FDS_NONE;
    CLEANUP_FREE struct dmabufd_span *list = NULL;
    struct link_reply reply;

    (void)state;
    begin(rig_fake("layout=run:4K"));
    tell(LINK_CLIENT_NEW, 1);
    assert_int_equal(alloc(1, 33 * K4, 0, &reply, &fds), 0);
    assert_int_equal(fds.count, 2);
    assert_int_equal(reply.u.buffer.span_count, 33);
    assert_int_equal(spantable_open(fds.fd[1], 33, 33 * K4, &list), 0);
    assert_int_equal(lookup(1, fds.fd[0], &reply, &again), 0);
    assert_int_equal(again.count, 1);
    assert_int_equal(reply.u.buffer.span_count, 33);
    assert_int_equal(fcntl(again.fd[0], F_GETFL) & O_ACCMODE, O_RDONLY);
    wire_fds_close(&fds);
    wire_fds_close(&again);
    finish();
}

static void look_up_by_descriptor(void **state)
{
    CLEANUP_FDS struct wire_fds fds = WIRE_FDS_NONE;
    CLEANUP_FD int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    struct link_reply first, reply;

    (void)state;
    begin(rig_fake(NULL));
    tell(LINK_CLIENT_NEW, 1);
    tell(LINK_CLIENT_NEW, 2);
    assert_int_equal(alloc(1, 2 * K4, 0, &first, &fds), 0);
    /* To another client the same, without a descriptor. */
    assert_int_equal(lookup(2, fds.fd[0], &reply, NULL), 0);
    assert_memory_equal(&reply.u.buffer, &first.u.buffer, sizeof(reply.u.buffer));
    assert_int_equal(lookup(2, null, &reply, NULL), ENXIO);
    assert_int_equal(reply.u.fault.code, DMABUFD_CODE_NOT_A_BUFFER);
    /* The maker leaves, the holder stays; of its two holds it needs both to go. */
    assert_int_equal(lookup(2, fds.fd[0], &reply, NULL), 0);
    tell(LINK_CLIENT_GONE, 1);
    assert_int_equal(free_one(2, first.u.buffer.id, &reply), 0);
    assert_int_equal(rig.memory.charged, 2 * K4);
    assert_int_equal(free_one(2, first.u.buffer.id, &reply), 0);
    assert_int_equal(rig.memory.charged, 0);
    assert_int_equal(lookup(2, fds.fd[0], &reply, NULL), ENXIO);
    wire_fds_close(&fds);
    fd_close(&null);
    /* That was open before. */
    fds_before--;
    finish();
}

static int register_memory(uint64_t client, int fd, uint64_t offset, uint64_t size,
                           struct link_reply *reply, struct wire_fds *fds)
{
    struct link_request request = { .op = LINK_REGISTER,
                                    .client = client,
                                    .u.registration = { .offset = offset, .size = size } };

    return ask(&request, fd, reply, fds);
}

/* Memory that the client made: pinned like ours, but not charged, and nobody else's to find. */
static void register_and_free(void **state)
{
    CLEANUP_FDS struct wire_fds fds = WIRE_FDS_NONE;
    CLEANUP_FD int fd = -1;
    struct link_reply reply;

    (void)state;
    begin(rig_fake("layout=run:8K"));
    fd = rig_memory(6 * K4);
    tell(LINK_CLIENT_NEW, 1);
    assert_int_equal(register_memory(1, fd, K4, 5 * K4, &reply, &fds), 0);
    assert_int_equal(fds.count, 0);
    assert_int_equal(reply.u.buffer.size, 5 * K4);
    assert_int_equal(reply.u.buffer.page_size, K4);
    assert_int_equal(reply.u.buffer.span_count, 3);
    assert_int_equal(spans_check(reply.u.buffer.spans, 3, 5 * K4), 0);
    /* Pinned for the client, so charged, as the daemon's own. */
    assert_int_equal(rig.memory.charged, 5 * K4);
    assert_int_equal(store_client(&rig.service.store, 1)->user->used[QUOTA_SMALL], 5 * K4);
    assert_int_equal(status(1).pinned, 1);
    assert_int_equal(free_one(1, reply.u.buffer.id, &reply), 0);
    assert_int_equal(status(1).pinned, 0);
    assert_int_equal(rig.memory.charged, 0);
    assert_int_equal(store_client(&rig.service.store, 1)->user->used[QUOTA_SMALL], 0);
    /* Beyond its end, and what is no memory file. */
    assert_int_equal(register_memory(1, fd, 2 * K4, 5 * K4, &reply, NULL), EINVAL);
    assert_int_equal(reply.u.fault.code, DMABUFD_CODE_INVALID);
    assert_int_equal(register_memory(1, rig.broker, 0, K4, &reply, NULL), EOPNOTSUPP);
    /* More than the limit of a user, and than that of all. */
    rig.service.store.quota.limits.most[QUOTA_SMALL] = 4 * K4;
    assert_int_equal(register_memory(1, fd, 0, 5 * K4, &reply, NULL), ENOMEM);
    assert_non_null(strstr(reply.u.fault.text, "--memory-limit-per-user"));
    rig.service.store.quota.limits.most[QUOTA_SMALL] = QUOTA_UNLIMITED;
    rig.memory.limit = 4 * K4;
    assert_int_equal(register_memory(1, fd, 0, 5 * K4, &reply, NULL), ENOMEM);
    assert_non_null(strstr(reply.u.fault.text, "the daemon's limit"));
    assert_int_equal(store_client(&rig.service.store, 1)->user->used[QUOTA_SMALL], 0);
    assert_int_equal(store_client(&rig.service.store, 1)->held, 0);
    fd_close(&fd);
    finish();
}

static void registered_memory_is_not_found(void **state)
{
    CLEANUP_FD int fd = -1;
    struct link_reply reply;

    (void)state;
    begin(rig_fake(NULL));
    fd = rig_memory(K4);
    tell(LINK_CLIENT_NEW, 1);
    assert_int_equal(register_memory(1, fd, 0, K4, &reply, NULL), 0);
    assert_int_equal(lookup(1, fd, &reply, NULL), ENXIO);
    assert_int_equal(reply.u.fault.code, DMABUFD_CODE_NOT_A_BUFFER);
    fd_close(&fd);
    finish();
}

static void limit_of_a_client(void **state)
{
    struct link_reply reply;

    (void)state;
    begin(rig_fake(NULL));
    tell(LINK_CLIENT_NEW, 1);
    tell(LINK_CLIENT_NEW, 2);
    for (int i = 0; i < BUFFERS; i++)
        alloc_well(1, 1);
    assert_int_equal(alloc(1, 1, 0, &reply, NULL), EMFILE);
    assert_int_equal(reply.u.fault.code, DMABUFD_CODE_LIMIT);
    alloc_well(2, 1);
    finish();
}

static void failures_name_their_reason(void **state)
{
    struct link_reply reply;

    (void)state;
    begin(rig_fake("fail=pin@1:EFAULT"));
    tell(LINK_CLIENT_NEW, 1);
    assert_int_equal(alloc(1, K4, 0, &reply, NULL), EIO);
    assert_int_equal(reply.u.fault.code, DMABUFD_CODE_BACKEND);
    assert_int_equal(alloc(1, 0, 0, &reply, NULL), EINVAL);
    assert_int_equal(reply.u.fault.code, DMABUFD_CODE_INVALID);
    assert_int_equal(alloc(1, UINT64_MAX, 0, &reply, NULL), E2BIG);
    assert_int_equal(reply.u.fault.code, DMABUFD_CODE_TOO_LARGE);
    assert_int_equal(alloc(1, 1, 8192, &reply, NULL), EINVAL);
    assert_int_equal(reply.u.fault.code, DMABUFD_CODE_INVALID);
    rig.memory.limit = 0;
    assert_int_equal(alloc(1, 1, K4, &reply, NULL), ENOMEM);
    assert_int_equal(reply.u.fault.code, DMABUFD_CODE_NO_MEMORY);
    /* None of them counts. */
    assert_int_equal(store_client(&rig.service.store, 1)->held, 0);
    finish();
}

static void status_counts(void **state)
{
    CLEANUP_FDS struct wire_fds fds = WIRE_FDS_NONE;
    struct link_reply reply;
    struct link_status s;

    (void)state;
    begin(rig_fake(NULL));
    tell(LINK_CLIENT_NEW, 1);
    tell(LINK_CLIENT_NEW, 2);
    assert_int_equal(alloc(1, 3 * K4, 0, &reply, &fds), 0);
    alloc_well(2, K4);
    assert_int_equal(lookup(2, fds.fd[0], &reply, NULL), 0);
    s = status(2);
    assert_int_equal(s.clients, 2);
    assert_int_equal(s.buffers, 2);
    assert_int_equal(s.bytes, 4 * K4);
    assert_int_equal(s.huge_bytes, 0);
    assert_int_equal(s.pinned, 2);
    assert_int_equal(s.jobs, 0);
    assert_int_equal(s.broker_starts, 1);
    assert_int_equal(s.unreleasable_bytes, 0);
    assert_true(s.uptime_ns > 0 && s.uptime_ns < UINT64_C(600000000000));
    tell(LINK_CLIENT_GONE, 1);
    s = status(2);
    assert_int_equal(s.clients, 1);
    assert_int_equal(s.buffers, 2);
    wire_fds_close(&fds);
    finish();
}

/* The answer cannot carry the buffer: then there is none. */
static void out_of_descriptors(void **state)
{
    CLEANUP_FDS struct wire_fds fds = WIRE_FDS_NONE;
    struct link_request request = { .op = LINK_ALLOC, .client = 1, .u.alloc.size = 40 * K4 };
    struct link_reply reply;

    (void)state;
    begin(rig_fake("layout=run:4K"));
    tell(LINK_CLIENT_NEW, 1);
    for (unsigned int room = 0; room < 2; room++) {
        uint64_t saved;

        /* Not through the loop, which would collect the result too. */
        assert_int_equal(service_request(&rig.service, &request, sizeof(request), &fds), 0);
        assert_true(rig_await_worker(&rig));
        saved = support_leave_room(room);
        rig_pump(&rig);
        support_restore_room(saved);
        assert_true(rig_receive(&rig, &reply, &fds));
        assert_int_equal(reply.error, EMFILE);
        assert_int_equal(reply.u.fault.code, DMABUFD_CODE_LIMIT);
        assert_int_equal(fds.count, 0);
        assert_true(rig_settle(&rig));
        assert_int_equal(store_client(&rig.service.store, 1)->held, 0);
        assert_int_equal(rig.memory.charged, 0);
    }
    finish();
}

/* A look-up that cannot be answered is no hold. */
static void out_of_descriptors_at_look_up(void **state)
{
    CLEANUP_FDS struct wire_fds fds = WIRE_FDS_NONE;
    struct link_request request = { .op = LINK_LOOKUP, .client = 2 };
    struct link_reply reply;
    struct wire_fds lost = WIRE_FDS_NONE;
    uint64_t saved;
    int r;

    (void)state;
    begin(rig_fake("layout=run:4K"));
    tell(LINK_CLIENT_NEW, 1);
    tell(LINK_CLIENT_NEW, 2);
    assert_int_equal(alloc(1, 40 * K4, 0, &reply, &fds), 0);
    assert_int_equal(wire_fds_put(&lost, fcntl(fds.fd[0], F_DUPFD_CLOEXEC, 0)), 0);
    /* The message has arrived, its descriptor is there: and then it was the last. */
    saved = support_leave_room(0);
    r = service_request(&rig.service, &request, sizeof(request), &lost);
    support_restore_room(saved);
    assert_int_equal(r, 0);
    wire_fds_close(&lost);
    assert_true(rig_receive(&rig, &reply, &lost));
    assert_int_equal(reply.error, EMFILE);
    assert_int_equal(store_client(&rig.service.store, 2)->held, 0);
    assert_int_equal(store_client(&rig.service.store, 2)->holds.count, 0);
    wire_fds_close(&fds);
    finish();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(allocate_and_free),
        cmocka_unit_test(long_list_comes_as_a_table),
        cmocka_unit_test(look_up_by_descriptor),
        cmocka_unit_test(register_and_free),
        cmocka_unit_test(registered_memory_is_not_found),
        cmocka_unit_test(limit_of_a_client),
        cmocka_unit_test(failures_name_their_reason),
        cmocka_unit_test(status_counts),
        cmocka_unit_test(out_of_descriptors),
        cmocka_unit_test(out_of_descriptors_at_look_up),
    };

    return cmocka_run_group_tests_name("service", tests, NULL, NULL);
}
