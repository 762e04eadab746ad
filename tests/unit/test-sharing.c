/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * daemon/keeper/sharing.h: read-only descriptors and names as the broker asks for them, honest or not.
 * Whom a name lets in is tested in test-names.c, who is in a group in test-identity.c.
 */
#include "tests/unit/cmocka-all.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "common/cleanup.h"
#include "tests/unit/rig.h"
#include "tests/unit/support.h"

#define CLIENTS 8
#define BUFFERS 80
#define K4      PAGE_4K
#define OWNER   1000U /* client 1 and 2 */
#define FRIEND  1001U /* client 3, in GROUP by a supplementary one */
#define OTHER   1002U /* client 4 */
#define GROUP   77U
#define ANYBODY UINT32_MAX

static struct rig rig;
static size_t fds_before;
static struct link_reply reply;

static int tell(const struct link_request *request)
{
    CLEANUP_FDS struct wire_fds none = WIRE_FDS_NONE;

    return service_request(&rig.service, request, sizeof(*request), &none);
}

static void add_client(uint64_t id, uint32_t uid, uint32_t group)
{
    const struct link_request arrival = { .op = LINK_CLIENT_NEW,
                                          .client = id,
                                          .u.peer = { 1, uid, uid, 0 } };
    const struct link_request groups = { .op = LINK_GROUPS,
                                         .client = id,
                                         .u.groups = { .count = 2, .gid = { 5, group } } };

    assert_int_equal(tell(&arrival), 0);
    assert_int_equal(tell(&groups), 0);
}

static int setup(void **state)
{
    (void)state;
    fds_before = support_fds();
    rig_open(&rig, rig_fake("layout=run:4K"), CLIENTS, BUFFERS);
    add_client(1, OWNER, GROUP);
    add_client(2, OWNER, 6);
    add_client(3, FRIEND, GROUP);
    add_client(4, OTHER, 6);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    return rig_close(&rig) && support_fds() == fds_before ? 0 : -1;
}

static int ask(struct link_request request, int fd, struct wire_fds *fds)
{
    int error = rig_ask(&rig, &request, fd, &reply, fds);

    assert_true(error >= 0);
    return error;
}

static uint64_t allocate(uint64_t client, uint64_t size, struct wire_fds *fds)
{
    struct link_request request = { .op = LINK_ALLOC,
                                    .client = client,
                                    .u.alloc = { .size = size } };

    assert_int_equal(ask(request, -1, fds), 0);
    assert_int_equal(reply.u.buffer.access, DMABUFD_READ_WRITE);
    return reply.u.buffer.id;
}

static int let_go(uint64_t client, uint64_t buffer)
{
    return ask((struct link_request){ .op = LINK_FREE, .client = client, .u.buffer = buffer }, -1,
               NULL);
}

static int look_up(uint64_t client, int fd)
{
    return ask((struct link_request){ .op = LINK_LOOKUP, .client = client }, fd, NULL);
}

static int share(uint64_t client, uint64_t buffer, struct wire_fds *fds)
{
    return ask((struct link_request){ .op = LINK_SHARE, .client = client, .u.buffer = buffer }, -1,
               fds);
}

static struct link_name name_of(const char *text)
{
    struct link_name name = { .text = "" };

    snprintf(name.text, sizeof(name.text), "%s", text);
    return name;
}

static int publish(uint64_t client, uint64_t buffer, const char *text, uint32_t group,
                   uint32_t mode)
{
    struct link_request request = {
        .op = LINK_PUBLISH,
        .client = client,
        .u.publication = { .buffer = buffer, .group = group, .mode = mode, .name = name_of(text) },
    };

    return ask(request, -1, NULL);
}

static int open_by_name(uint64_t client, const char *text, uint32_t access, struct wire_fds *fds)
{
    struct link_request request = {
        .op = LINK_OPEN,
        .client = client,
        .u.opening = { .access = access, .owner = ANYBODY, .name = name_of(text) },
    };

    return ask(request, -1, fds);
}

static int unpublish(uint64_t client, const char *text)
{
    return ask(
        (struct link_request){ .op = LINK_UNPUBLISH, .client = client, .u.name = name_of(text) },
        -1, NULL);
}

static uint32_t list(uint64_t client, const char *after)
{
    assert_int_equal(
        ask((struct link_request){ .op = LINK_NAMES, .client = client, .u.name = name_of(after) },
            -1, NULL),
        0);
    return reply.u.names.count;
}

/* What the keeper notes of a client's hold. */
static enum dmabufd_access right_of(uint64_t client, uint64_t buffer)
{
    assert_int_equal(ask((struct link_request){ .op = LINK_LIST, .client = client }, -1, NULL), 0);
    for (uint32_t i = 0; i < reply.u.list.count; i++) {
        if (reply.u.list.entries[i].id == buffer)
            return reply.u.list.entries[i].access;
    }
    return 0;
}

static bool is_open(const struct wire_fds *fds, int how)
{
    return fds->count == 1 && (fcntl(fds->fd[0], F_GETFL) & O_ACCMODE) == how;
}

static void shares(void **state)
{
    CLEANUP_FDS struct wire_fds memory = WIRE_FDS_NONE, first = WIRE_FDS_NONE;
    CLEANUP_FDS struct wire_fds second = WIRE_FDS_NONE;
    uint64_t id = allocate(1, K4, &memory);

    (void)state;
    assert_int_equal(share(4, id, NULL), ENOENT);
    assert_int_equal(reply.u.fault.code, DMABUFD_CODE_NOT_HELD);
    assert_int_equal(share(1, id, &first), 0);
    assert_true(is_open(&first, O_RDONLY));
    assert_int_equal(right_of(1, id), DMABUFD_READ_WRITE);
    assert_int_equal(look_up(4, first.fd[0]), 0);
    assert_int_equal(reply.u.buffer.access, DMABUFD_READ_ONLY);
    assert_int_equal(reply.u.buffer.id, id);
    assert_int_equal(right_of(4, id), DMABUFD_READ_ONLY);
    /* Who may read may pass that on, and nothing more. */
    assert_int_equal(share(4, id, &second), 0);
    assert_true(is_open(&second, O_RDONLY));
    assert_int_equal(publish(4, id, "x", ANYBODY, 0600), EACCES);
    assert_int_equal(publish(4, id, "x", ANYBODY, 0400), 0);
    assert_int_equal(open_by_name(4, "x", DMABUFD_READ_WRITE, NULL), EACCES);
    /* Its descriptor outlives the others' holds; after the last one it is nothing. */
    assert_int_equal(let_go(1, id), 0);
    assert_int_equal(look_up(2, second.fd[0]), 0);
    assert_int_equal(look_up(2, memory.fd[0]), 0);
    assert_int_equal(right_of(2, id), DMABUFD_READ_WRITE);
    assert_int_equal(let_go(2, id), 0);
    assert_int_equal(let_go(2, id), 0);
    assert_int_equal(let_go(4, id), 0);
    assert_int_equal(look_up(4, first.fd[0]), ENXIO);
    assert_int_equal(look_up(4, memory.fd[0]), ENXIO);
    assert_int_equal(list(4, ""), 0);
}

static void open_and_vanish(void **state)
{
    CLEANUP_FDS struct wire_fds memory = WIRE_FDS_NONE, write = WIRE_FDS_NONE, read = WIRE_FDS_NONE;
    uint64_t id = allocate(1, 2 * K4, &memory);

    (void)state;
    assert_int_equal(publish(1, id, "ring", GROUP, 0640), 0);
    assert_int_equal(open_by_name(2, "ring", DMABUFD_READ_WRITE, &write), 0);
    assert_true(is_open(&write, O_RDWR));
    assert_int_equal(reply.u.buffer.id, id);
    assert_int_equal(reply.u.buffer.size, 2 * K4);
    assert_int_equal(reply.u.buffer.access, DMABUFD_READ_WRITE);
    assert_int_equal(open_by_name(3, "ring", DMABUFD_READ_ONLY, &read), 0);
    assert_true(is_open(&read, O_RDONLY));
    assert_int_equal(reply.u.buffer.access, DMABUFD_READ_ONLY);
    assert_int_equal(reply.u.buffer.span_count, 2);
    assert_int_equal(open_by_name(3, "ring", DMABUFD_READ_WRITE, NULL), EACCES);
    assert_int_equal(open_by_name(4, "ring", DMABUFD_READ_ONLY, NULL), ENOENT);
    assert_int_equal(reply.u.fault.code, DMABUFD_CODE_NO_NAME);
    assert_int_equal(open_by_name(3, "ring", 0, NULL), EINVAL);
    assert_int_equal(open_by_name(3, "ring", 3, NULL), EINVAL);
    assert_int_equal(right_of(3, id), DMABUFD_READ_ONLY);
    assert_int_equal(list(3, ""), 1);
    assert_int_equal(list(4, ""), 0);
    assert_int_equal(unpublish(4, "ring"), ENOENT);
    assert_int_equal(unpublish(3, "ring"), EPERM);
    /* The publisher goes; the name stays with those who hold the buffer, and keeps its owner. */
    assert_int_equal(tell(&(struct link_request){ .op = LINK_CLIENT_GONE, .client = 1 }), 0);
    assert_int_equal(let_go(2, id), 0);
    assert_int_equal(open_by_name(2, "ring", DMABUFD_READ_WRITE, NULL), 0);
    assert_int_equal(list(3, ""), 1);
    assert_string_equal(reply.u.names.entries[0].name.text, "ring");
    assert_int_equal(reply.u.names.entries[0].buffer, id);
    assert_int_equal(reply.u.names.entries[0].size, 2 * K4);
    assert_int_equal(reply.u.names.entries[0].owner, OWNER);
    assert_int_equal(reply.u.names.entries[0].group, GROUP);
    assert_int_equal(reply.u.names.entries[0].mode, 0640);
    assert_int_equal(reply.u.names.entries[0].holders, 2);
    assert_int_equal(let_go(2, id), 0);
    assert_int_equal(let_go(3, id), 0);
    assert_int_equal(open_by_name(2, "ring", DMABUFD_READ_WRITE, NULL), ENOENT);
    assert_int_equal(rig.service.names.count, 0);
}

/* The last holder ends without a word. */
static void vanishes_with_the_connection(void **state)
{
    uint64_t id = allocate(1, K4, NULL);

    (void)state;
    assert_int_equal(publish(1, id, "a", ANYBODY, 0666), 0);
    assert_int_equal(publish(1, id, "b", ANYBODY, 0666), 0);
    assert_int_equal(list(4, ""), 2);
    assert_int_equal(unpublish(2, "a"), 0);
    assert_int_equal(tell(&(struct link_request){ .op = LINK_CLIENT_GONE, .client = 1 }), 0);
    assert_int_equal(list(4, ""), 0);
    assert_int_equal(open_by_name(4, "b", DMABUFD_READ_WRITE, NULL), ENOENT);
}

static void names_in_pages(void **state)
{
    uint64_t id = allocate(1, K4, NULL);
    uint32_t count = 2 * PROTO_NAMES_PAGE, seen = 0;
    char text[32] = "", last[PROTO_NAME_MAX + 1] = "";

    (void)state;
    for (uint32_t i = 0; i < count; i++) {
        snprintf(text, sizeof(text), "n%03u", i * 7 % count);
        assert_int_equal(publish(1, id, text, ANYBODY, i % 2 ? 0600 : 0644), 0);
    }
    do {
        seen += list(2, last);
        assert_int_equal(reply.u.names.count, PROTO_NAMES_PAGE);
        assert_true(strcmp(reply.u.names.entries[0].name.text, last) > 0);
        strcpy(last, reply.u.names.entries[PROTO_NAMES_PAGE - 1].name.text);
    } while (reply.u.names.more);
    assert_int_equal(seen, count);
    /* Exactly one page of what this one may see. */
    assert_int_equal(list(4, ""), PROTO_NAMES_PAGE);
    assert_false(reply.u.names.more);
}

static void registered_memory(void **state)
{
    struct link_request request = { .op = LINK_REGISTER,
                                    .client = 1,
                                    .u.registration = { .size = K4 } };
    CLEANUP_FD int fd = rig_memory(K4);
    uint64_t id;

    (void)state;
    assert_int_equal(ask(request, fd, NULL), 0);
    id = reply.u.buffer.id;
    assert_int_equal(share(1, id, NULL), EOPNOTSUPP);
    assert_int_equal(publish(1, id, "x", ANYBODY, 0600), EOPNOTSUPP);
    assert_int_equal(reply.u.fault.code, DMABUFD_CODE_UNSUPPORTED);
}

static void out_of_descriptors(void **state)
{
    uint64_t id = allocate(1, K4, NULL);
    struct link_request questions[] = {
        { .op = LINK_SHARE, .client = 1, .u.buffer = id },
        { .op = LINK_OPEN, .client = 2, .u.opening = { 1, ANYBODY, name_of("x") } },
        { .op = LINK_OPEN, .client = 2, .u.opening = { 2, ANYBODY, name_of("x") } },
    };

    (void)state;
    assert_int_equal(publish(1, id, "x", ANYBODY, 0600), 0);
    for (unsigned int room = 0; room < 2; room++) {
        for (size_t i = 0; i < ARRAY_LEN(questions); i++) {
            CLEANUP_FDS struct wire_fds fds = WIRE_FDS_NONE;
            uint64_t saved = support_leave_room(room);
            int r = tell(&questions[i]);

            support_restore_room(saved);
            assert_int_equal(r, 0);
            assert_true(rig_receive(&rig, &reply, &fds));
            /* With room for one: the file is there then, and next time only a duplicate is needed. */
            if (room == 0 || i == 0)
                assert_int_equal(reply.error, EMFILE);
            else
                assert_int_equal(reply.error, 0);
            assert_int_equal(fds.count, reply.error ? 0 : 1);
        }
    }
    /* Only what was answered well is held. */
    assert_int_equal(let_go(2, id), 0);
    assert_int_equal(let_go(2, id), 0);
    assert_int_equal(let_go(2, id), ENOENT);
}

/* ---- what no honest broker sends ---- */

static void names_without_an_end(void **state)
{
    static const uint32_t ops[] = { LINK_PUBLISH, LINK_OPEN, LINK_NAMES, LINK_UNPUBLISH };
    struct link_request request = { .client = 1 };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(ops); i++) {
        request.op = ops[i];
        memset(&request.u, 'x', sizeof(request.u));
        if (ops[i] == LINK_OPEN)
            request.u.opening.access = DMABUFD_READ_ONLY;
        assert_int_equal(tell(&request), -EBADMSG);
    }
    assert_int_equal(rig_drain(&rig), 0);
}

static void too_many_groups(void **state)
{
    struct link_request request = { .op = LINK_GROUPS, .client = 4 };
    uint64_t id = allocate(1, K4, NULL);

    (void)state;
    assert_int_equal(publish(1, id, "x", GROUP, 0660), 0);
    request.u.groups.count = LINK_GROUPS_CHUNK + 1;
    assert_int_equal(tell(&request), -EBADMSG);
    request.u.groups.count = UINT32_MAX;
    assert_int_equal(tell(&request), -EBADMSG);
    request.u.groups.count = LINK_GROUPS_CHUNK;
    for (uint32_t told = 2; told + LINK_GROUPS_CHUNK <= LINK_GROUPS_MAX; told += LINK_GROUPS_CHUNK)
        assert_int_equal(tell(&request), 0);
    request.u.groups.gid[LINK_GROUPS_MAX % LINK_GROUPS_CHUNK] = GROUP;
    assert_int_equal(tell(&request), -EBADMSG);
    assert_int_equal(open_by_name(4, "x", DMABUFD_READ_ONLY, NULL), ENOENT);
    request.client = 99;
    assert_int_equal(tell(&request), -EBADMSG);
}

static void numbers_of_others(void **state)
{
    uint64_t id = allocate(1, K4, NULL);

    (void)state;
    assert_int_equal(share(2, id, NULL), ENOENT);
    assert_int_equal(publish(2, id, "x", ANYBODY, 0600), ENOENT);
    assert_int_equal(reply.u.fault.code, DMABUFD_CODE_NOT_HELD);
    assert_int_equal(publish(2, UINT64_MAX, "x", ANYBODY, 0600), ENOENT);
    assert_int_equal(rig.service.names.count, 0);
    assert_int_equal(rig.service.store.shares, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(shares),
        TEST(open_and_vanish),
        TEST(vanishes_with_the_connection),
        TEST(names_in_pages),
        TEST(registered_memory),
        TEST(out_of_descriptors),
        TEST(names_without_an_end),
        TEST(too_many_groups),
        TEST(numbers_of_others),
    };

    return cmocka_run_group_tests_name("sharing", tests, NULL, NULL);
}
