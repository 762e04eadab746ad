/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * daemon/keeper/service.h against a broker that was taken over: every message that no honest broker
 * sends is -EBADMSG and changes nothing; of another client's memory it gets nothing by number; and
 * after any number of messages everything can still be released.
 */
#include "tests/unit/cmocka-all.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/memfd.h"
#include "tests/unit/rig.h"
#include "tests/unit/support.h"

#define CLIENTS 16
#define BUFFERS 6
#define K4      PAGE_4K

static struct rig rig;
static size_t fds_before;

static int setup(void **state)
{
    (void)state;
    fds_before = support_fds();
    rig_open(&rig, rig_fake("layout=run:4K"), CLIENTS, BUFFERS);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    return rig_close(&rig) && support_fds() == fds_before ? 0 : -1;
}

/* With so many descriptors, which stay closed afterwards whatever the service did with them. */
static int deliver(const void *bytes, size_t size, size_t fd_count)
{
    CLEANUP_FDS struct wire_fds fds = WIRE_FDS_NONE;

    for (size_t i = 0; i < fd_count; i++)
        assert_int_equal(wire_fds_put(&fds, open("/dev/null", O_RDWR | O_CLOEXEC)), 0);
    return service_request(&rig.service, bytes, size, &fds);
}

static int request(uint32_t op, uint64_t client, uint64_t first, uint64_t second, size_t fd_count)
{
    struct link_request message = { .op = op,
                                    .client = client,
                                    .u.alloc = { .size = first, .page_size = second } };

    return deliver(&message, sizeof(message), fd_count);
}

static bool brings_fd(uint32_t op)
{
    return op == LINK_LOOKUP || op == LINK_REGISTER;
}

static int new_client(uint64_t id)
{
    return request(LINK_CLIENT_NEW, id, 0, 0, 0);
}

static void receive(struct link_reply *reply, int error, enum dmabufd_code code)
{
    CLEANUP_FDS struct wire_fds fds = WIRE_FDS_NONE;

    assert_true(rig_receive(&rig, reply, &fds));
    assert_int_equal(reply->error, error);
    if (error)
        assert_int_equal(reply->u.fault.code, code);
}

static void wrong_sizes(void **state)
{
    static const size_t sizes[] = {
        0, 1, 8, sizeof(struct link_request) - 1, sizeof(struct link_request) + 1, 4096
    };
    unsigned char bytes[4096] = { LINK_STATUS };

    (void)state;
    assert_int_equal(new_client(1), 0);
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++)
        assert_int_equal(deliver(bytes, sizes[i], 0), -EBADMSG);
    assert_int_equal(rig_drain(&rig), 0);
}

static void unknown_operations(void **state)
{
    static const uint32_t ops[] = { 0,   LINK_READY, LINK_OP_END, LINK_OP_END + 1,
                                    255, 1U << 31,   UINT32_MAX };

    (void)state;
    assert_int_equal(new_client(1), 0);
    for (size_t i = 0; i < ARRAY_LEN(ops); i++)
        assert_int_equal(request(ops[i], 1, 0, 0, 0), -EBADMSG);
    assert_int_equal(rig_drain(&rig), 0);
}

static void wrong_numbers_of_descriptors(void **state)
{
    static const uint32_t none[] = { LINK_CLIENT_NEW, LINK_CLIENT_GONE, LINK_ALLOC,
                                     LINK_FREE,       LINK_LIST,        LINK_STATUS,
                                     LINK_SHARE,      LINK_PUBLISH,     LINK_OPEN,
                                     LINK_NAMES,      LINK_UNPUBLISH,   LINK_GROUPS };
    size_t before;

    (void)state;
    assert_int_equal(new_client(1), 0);
    before = support_fds();
    for (size_t i = 0; i < ARRAY_LEN(none); i++) {
        for (size_t count = 1; count <= PROTO_FDS_MAX; count++)
            assert_int_equal(request(none[i], none[i] == LINK_CLIENT_NEW ? 2 : 1, K4, 0, count),
                             -EBADMSG);
    }
    for (size_t count = 0; count <= PROTO_FDS_MAX; count++) {
        if (count == 1)
            continue;
        assert_int_equal(request(LINK_LOOKUP, 1, 0, 0, count), -EBADMSG);
        assert_int_equal(request(LINK_REGISTER, 1, 0, K4, count), -EBADMSG);
    }
    assert_int_equal(support_fds(), before);
    /* The client is still there, and no other. */
    assert_int_equal(rig.service.store.client_count, 1);
    assert_int_equal(rig.service.jobs, 0);
    assert_int_equal(rig_drain(&rig), 0);
}

static void clients_that_are_none(void **state)
{
    static const uint64_t ids[] = {
        0, 2, CLIENTS, CLIENTS + 1, UINT32_MAX, UINT64_C(1) << 32, UINT64_C(1) << 32 | 1, UINT64_MAX
    };

    (void)state;
    assert_int_equal(new_client(1), 0);
    for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
        for (uint32_t op = 0; op <= LINK_OP_END; op++) {
            if (op != LINK_CLIENT_NEW)
                assert_int_equal(request(op, ids[i], K4, 0, brings_fd(op)), -EBADMSG);
        }
    }
    assert_int_equal(rig.service.jobs, 0);
    assert_int_equal(rig_drain(&rig), 0);
}

static void new_clients_that_cannot_be(void **state)
{
    (void)state;
    assert_int_equal(new_client(0), -EBADMSG);
    assert_int_equal(new_client(CLIENTS + 1), -EBADMSG);
    assert_int_equal(new_client(UINT32_MAX), -EBADMSG);
    assert_int_equal(new_client(UINT64_MAX), -EBADMSG);
    assert_int_equal(new_client(UINT64_C(9) << 32), -EBADMSG);
    assert_int_equal(new_client(CLIENTS), 0);
    assert_int_equal(new_client(CLIENTS), -EBADMSG);
    assert_int_equal(new_client(UINT64_C(1) << 32 | CLIENTS), -EBADMSG);
    assert_int_equal(rig.service.store.client_count, 1);
    assert_int_equal(request(LINK_CLIENT_GONE, CLIENTS, 0, 0, 0), 0);
    assert_int_equal(request(LINK_CLIENT_GONE, CLIENTS, 0, 0, 0), -EBADMSG);
}

/* By number nobody gets at what another holds; there is no list of it either. */
static void buffers_of_others(void **state)
{
    struct link_reply reply;
    uint64_t id;

    (void)state;
    assert_int_equal(new_client(1), 0);
    assert_int_equal(new_client(2), 0);
    assert_int_equal(request(LINK_ALLOC, 1, K4, 0, 0), 0);
    receive(&reply, 0, 0);
    id = reply.u.buffer.id;
    assert_int_equal(request(LINK_FREE, 2, id, 0, 0), 0);
    receive(&reply, ENOENT, DMABUFD_CODE_NOT_HELD);
    assert_int_equal(request(LINK_FREE, 1, id + 1, 0, 0), 0);
    receive(&reply, ENOENT, DMABUFD_CODE_NOT_HELD);
    assert_int_equal(request(LINK_FREE, 1, 0, 0, 0), 0);
    receive(&reply, ENOENT, DMABUFD_CODE_NOT_HELD);
    assert_int_equal(request(LINK_FREE, 1, UINT64_MAX, 0, 0), 0);
    receive(&reply, ENOENT, DMABUFD_CODE_NOT_HELD);
    assert_int_equal(request(LINK_LIST, 2, 0, 0, 0), 0);
    receive(&reply, 0, 0);
    assert_int_equal(reply.u.list.count, 0);
    assert_int_equal(request(LINK_LIST, 2, id, 0, 0), 0);
    receive(&reply, 0, 0);
    assert_int_equal(reply.u.list.count, 0);
    assert_int_equal(reply.u.list.next, 0);
    assert_int_equal(rig.service.store.buffers.count, 1);
}

static void sizes_that_cannot_be(void **state)
{
    static const uint64_t sizes[] = { UINT64_MAX, UINT64_MAX - K4 + 2, UINT64_C(1) << 63,
                                      (UINT64_C(1) << 63) - 1 };
    static const uint64_t pages[] = { 1, 4095, 8192, K4 << 1, UINT64_MAX };
    struct link_reply reply;

    (void)state;
    assert_int_equal(new_client(1), 0);
    assert_int_equal(request(LINK_ALLOC, 1, 0, 0, 0), 0);
    receive(&reply, EINVAL, DMABUFD_CODE_INVALID);
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        assert_int_equal(request(LINK_ALLOC, 1, sizes[i], 0, 0), 0);
        receive(&reply, E2BIG, DMABUFD_CODE_TOO_LARGE);
    }
    for (size_t i = 0; i < ARRAY_LEN(pages); i++) {
        assert_int_equal(request(LINK_ALLOC, 1, K4, pages[i], 0), 0);
        receive(&reply, EINVAL, DMABUFD_CODE_INVALID);
    }
    assert_int_equal(rig.memory.charged, 0);
    assert_int_equal(store_client(&rig.service.store, 1)->held, 0);
}

/* The limit of a client holds for what is under way as well. */
static void limits_hold_in_a_burst(void **state)
{
    int refused = 0, granted = 0;

    (void)state;
    assert_int_equal(new_client(1), 0);
    for (int i = 0; i < 100; i++)
        assert_int_equal(request(LINK_ALLOC, 1, K4, 0, 0), 0);
    assert_int_equal(store_client(&rig.service.store, 1)->held, BUFFERS);
    for (int i = 0; i < 100; i++) {
        CLEANUP_FDS struct wire_fds fds = WIRE_FDS_NONE;
        struct link_reply reply;

        assert_true(rig_receive(&rig, &reply, &fds));
        refused += reply.error == EMFILE;
        granted += reply.error == 0;
    }
    assert_int_equal(granted, BUFFERS);
    assert_int_equal(refused, 100 - BUFFERS);
}

/* More under way than any client is let have by an honest broker. */
static void too_much_under_way(void **state)
{
    (void)state;
    rig.service.store.limits.buffers_of_client = 1000;
    assert_int_equal(new_client(1), 0);
    assert_int_equal(new_client(2), 0);
    for (int round = 0; round < 3; round++) {
        for (unsigned int i = 0; i < PROTO_IN_FLIGHT_MAX; i++)
            assert_int_equal(request(LINK_ALLOC, 1, K4, 0, 0), 0);
        assert_int_equal(request(LINK_ALLOC, 1, K4, 0, 0), -EBADMSG);
        assert_int_equal(store_client(&rig.service.store, 1)->held,
                         (unsigned int)(round + 1) * PROTO_IN_FLIGHT_MAX);
        assert_int_equal(request(LINK_ALLOC, 2, K4, 0, 0), 0);
        /* What is finished does not count. */
        assert_true(rig_settle(&rig));
        assert_int_equal(rig_drain(&rig), PROTO_IN_FLIGHT_MAX + 1);
    }
}

/* The keeper was out of descriptors when the message came. */
static void lost_descriptors(void **state)
{
    static const uint32_t ops[] = { LINK_LOOKUP, LINK_REGISTER };

    (void)state;
    assert_int_equal(new_client(1), 0);
    for (size_t i = 0; i < ARRAY_LEN(ops); i++) {
        struct link_request message = { .op = ops[i], .client = 1, .tag = 5 };
        struct wire_fds fds = WIRE_FDS_NONE;
        struct link_reply reply;

        fds.lost = true;
        assert_int_equal(service_request(&rig.service, &message, sizeof(message), &fds), 0);
        receive(&reply, EMFILE, DMABUFD_CODE_LIMIT);
        assert_int_equal(reply.op, ops[i]);
        assert_int_equal(reply.tag, 5);
    }
    assert_int_equal(store_client(&rig.service.store, 1)->held, 0);
}

#define QUESTIONS 5000

/* Who asks and does not read the answers is not read any more; what waits is bounded. */
static void broker_that_does_not_read(void **state)
{
    struct link_request message = { .op = LINK_STATUS, .client = 1 };
    size_t sent = 0, answered = 0, most = 0;

    (void)state;
    assert_int_equal(new_client(1), 0);
    for (int i = 0; i < QUESTIONS && sent < QUESTIONS; i++) {
        while (sent < QUESTIONS && rig_send(&rig, &message, sizeof(message), -1) == 0)
            sent++;
        rig_pump(&rig);
        most = channel_queued(rig.service.link) > most ? channel_queued(rig.service.link) : most;
        assert_true(most <= LINK_QUEUE_MAX + 1);
    }
    assert_int_equal(most, LINK_QUEUE_MAX + 1);
    assert_true(sent < QUESTIONS);
    /* When it reads again, all goes on. */
    for (int i = 0; i < QUESTIONS && answered < sent; i++)
        answered += rig_drain(&rig);
    assert_int_equal(answered, sent);
    assert_int_equal(channel_queued(rig.service.link), 0);
    assert_false(rig.ended);
}

/* Over the link itself: it ends, with that reason. */
static void link_ends(void **state)
{
    struct link_request message = { .op = LINK_STATUS, .client = 5 };

    (void)state;
    assert_int_equal(new_client(1), 0);
    assert_int_equal(request(LINK_ALLOC, 1, K4, 0, 0), 0);
    assert_int_equal(rig_send(&rig, &message, sizeof(message), -1), 0);
    rig_pump(&rig);
    assert_true(rig.ended);
    assert_int_equal(rig.end_error, -EBADMSG);
    rig_end_broker(&rig);
    assert_true(rig_settle(&rig));
    assert_true(rig_empty(&rig));
    rig_start_broker(&rig);
    /* Longer than any message, and with more descriptors than any. */
    assert_int_equal(
        rig_send(&rig, &(char[sizeof(message) + 1]){ 0 }, sizeof(message) + 1, rig.broker), 0);
    rig_pump(&rig);
    assert_true(rig.ended);
    assert_int_equal(rig.end_error, -EMSGSIZE);
}

#define MESSAGES 100000

/* One that there is; or one that the table could have given: place and, low, how often used. */
static uint64_t some_buffer(uint64_t *random)
{
    uint32_t cursor = (uint32_t)support_below(random, 64);
    const struct buffer *buffer = slots_next(&rig.service.store.buffers, &cursor);

    if (buffer && support_below(random, 2))
        return buffer->id;
    return support_below(random, 200) << 32 | support_below(random, 80);
}

/* One of few, so that it is there sometimes. */
static struct link_name some_name(uint64_t *random)
{
    struct link_name name = { .text = { (char)('a' + support_below(random, 8)), '\0' } };

    return name;
}

/* Mostly such that they reach something: few clients, few buffers, sizes around a page. */
static void make_message(struct link_request *message, uint64_t *random)
{
    support_fill(random, message, sizeof(*message));
    if (support_below(random, 16) == 0)
        return;
    message->op = (uint32_t)support_below(random, LINK_OP_END + 1);
    if (message->op > LINK_REGISTER && message->op < LINK_SHARE)
        message->op = LINK_ALLOC;
    message->client = 1 + support_below(random, CLIENTS + 1);
    switch (message->op) {
    case LINK_ALLOC:
        message->u.alloc.size = support_below(random, 10 * K4);
        if (support_below(random, 4))
            message->u.alloc.constraints = (struct dmabufd_constraints){ 0 };
        message->u.alloc.page_size = support_below(random, 4) ? 0 : K4 << support_below(random, 3);
        break;
    case LINK_REGISTER:
        message->u.registration =
            (struct link_registration){ .offset = support_below(random, 2) * K4,
                                        .size = support_below(random, 3) * K4 };
        break;
    case LINK_PUBLISH:
        message->u.publication = (struct link_publication){
            .buffer = some_buffer(random),
            .group = UINT32_MAX,
            .mode = (uint32_t)support_below(random, 01000),
            .name = some_name(random),
        };
        break;
    case LINK_OPEN:
        message->u.opening.access = (uint32_t)support_below(random, 4);
        message->u.opening.owner = UINT32_MAX;
        message->u.opening.name = some_name(random);
        break;
    case LINK_NAMES:
    case LINK_UNPUBLISH:
        message->u.name = some_name(random);
        break;
    case LINK_GROUPS:
        message->u.groups.count = (uint32_t)support_below(random, LINK_GROUPS_CHUNK + 2);
        break;
    case LINK_FREE:
    case LINK_LIST:
    case LINK_SHARE:
        message->u.buffer = some_buffer(random);
        break;
    case LINK_CLIENT_GONE:
        /* Rarely, so that something gathers meanwhile. */
        message->op = support_below(random, 8) ? LINK_STATUS : LINK_CLIENT_GONE;
        break;
    default:
        break;
    }
}

/* Of some buffer there is, or of none, or of memory that could be registered. */
static int some_descriptor(uint32_t op, uint64_t *random)
{
    uint32_t cursor = (uint32_t)support_below(random, 64);
    const struct buffer *buffer = slots_next(&rig.service.store.buffers, &cursor);

    if (op == LINK_REGISTER && support_below(random, 4))
        return rig_memory(2 * K4);
    if (buffer && buffer->readonly_fd >= 0 && support_below(random, 2))
        return fcntl(buffer->readonly_fd, F_DUPFD_CLOEXEC, 0);
    return buffer ? fcntl(buffer->fd, F_DUPFD_CLOEXEC, 0) : open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static void any_messages(void **state)
{
    uint64_t random = support_seed();
    size_t bad = 0, answered = 0, most = 0, names = 0, shares = 0;

    (void)state;
    for (int i = 0; i < MESSAGES; i++) {
        CLEANUP_FDS struct wire_fds fds = WIRE_FDS_NONE;
        struct link_request message;
        size_t size = sizeof(message), count;
        int r;

        make_message(&message, &random);
        if (support_below(&random, 64) == 0)
            size = support_below(&random, sizeof(message));
        count = brings_fd(message.op);
        if (support_below(&random, 64) == 0)
            count = support_below(&random, 3);
        for (size_t j = 0; j < count; j++)
            wire_fds_put(&fds, some_descriptor(message.op, &random));
        r = service_request(&rig.service, &message, size, &fds);
        assert_true(r == 0 || r == -EBADMSG);
        bad += r < 0;
        if (rig.service.names.count > names)
            names = rig.service.names.count;
        if (rig.service.store.shares > shares)
            shares = rig.service.store.shares;
        if (rig.service.store.buffers.count > most)
            most = rig.service.store.buffers.count;
        if (i % 32 == 0)
            answered += rig_drain(&rig);
        if (i % 512 == 0)
            assert_true(rig_settle(&rig));
        if (i % 20000 == 19999) {
            rig_end_broker(&rig);
            assert_true(rig_settle(&rig));
            assert_true(rig_empty(&rig));
            rig_start_broker(&rig);
        }
    }
    answered += rig_drain(&rig);
    /* All of this was not about nothing. */
    assert_true(bad > MESSAGES / 10 && bad < MESSAGES / 10 * 9);
    assert_true(answered > MESSAGES / 10);
    assert_true(most > CLIENTS);
    assert_true(names > 0 && shares > 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(wrong_sizes),
        TEST(unknown_operations),
        TEST(wrong_numbers_of_descriptors),
        TEST(clients_that_are_none),
        TEST(new_clients_that_cannot_be),
        TEST(buffers_of_others),
        TEST(sizes_that_cannot_be),
        TEST(limits_hold_in_a_burst),
        TEST(too_much_under_way),
        TEST(lost_descriptors),
        TEST(broker_that_does_not_read),
        TEST(link_ends),
        TEST(any_messages),
    };

    return cmocka_run_group_tests_name("service hostile", tests, NULL, NULL);
}
