/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * daemon/broker/upstream.h: each question reaches the keeper as it was asked, each answer the client
 * that asked, whatever order they come in and whoever has left meanwhile; and the broker ends with
 * its link. Chunks and the pool are in test-upstream-pool.c.
 */
#include "tests/unit/cmocka-all.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/memfd.h"
#include "daemon/broker/session.h"
#include "daemon/broker/upstream.h"
#include "tests/unit/broker-rig.h"
#include "tests/unit/support.h"

static struct raw_reply reply;

static int make_file(void)
{
    int fd = -1;

    assert_int_equal(memfd_open("unit", 0, &fd), 0);
    return fd;
}

static ino_t inode(int fd)
{
    struct stat st;

    assert_int_equal(fstat(fd, &st), 0);
    return st.st_ino;
}

/* ---- questions ---- */

static void allocations_arrive_whole(void **state)
{
    Dmabufd__Proto__AllocateRequest allocate = DMABUFD__PROTO__ALLOCATE_REQUEST__INIT;
    Dmabufd__Proto__Constraints constraints = DMABUFD__PROTO__CONSTRAINTS__INIT;
    proto_request request = DMABUFD__PROTO__REQUEST__INIT;
    unsigned char bytes[PROTO_REQUEST_MAX];
    struct link_request asked;
    uint64_t client;
    int sock = broker_rig_greeted(&client);

    (void)state;
    constraints.dma_mask = UINT32_MAX;
    constraints.max_segment_size = 3;
    constraints.boundary = 4;
    constraints.alignment = 5;
    constraints.min_span = 6;
    constraints.max_segments = 7;
    constraints.contiguous = true;
    allocate.size = UINT64_MAX;
    allocate.page_size = 4096;
    allocate.constraints = &constraints;
    request.id = UINT64_MAX;
    request.body_case = DMABUFD__PROTO__REQUEST__BODY_ALLOCATE;
    request.allocate = &allocate;
    assert_int_equal(raw_send(sock, bytes, raw_pack(&request, bytes), -1, 0), 0);
    assert_true(broker_rig_asked(&asked, NULL));
    assert_int_equal(asked.op, LINK_ALLOC);
    assert_int_equal(asked.client, client);
    /* 0 is nobody's. */
    assert_int_not_equal(asked.tag, 0);
    assert_int_equal(asked.u.alloc.size, UINT64_MAX);
    assert_int_equal(asked.u.alloc.page_size, 4096);
    assert_int_equal(asked.u.alloc.constraints.dma_mask, UINT32_MAX);
    assert_int_equal(asked.u.alloc.constraints.max_segment_size, 3);
    assert_int_equal(asked.u.alloc.constraints.boundary, 4);
    assert_int_equal(asked.u.alloc.constraints.alignment, 5);
    assert_int_equal(asked.u.alloc.constraints.min_span, 6);
    assert_int_equal(asked.u.alloc.constraints.max_segments, 7);
    assert_int_equal(asked.u.alloc.constraints.flags, DMABUFD_CONTIGUOUS);
    close(sock);
}

static void descriptors_move_on(void **state)
{
    int sock = broker_rig_greeted(NULL), file = make_file();
    struct link_request asked;
    struct wire_fds fds;
    size_t before = support_fds();

    (void)state;
    assert_int_equal(raw_send_lookup(sock, 2, file), 0);
    assert_true(broker_rig_asked(&asked, &fds));
    assert_int_equal(asked.op, LINK_LOOKUP);
    assert_int_equal(fds.count, 1);
    assert_int_equal(inode(fds.fd[0]), inode(file));
    wire_fds_close(&fds);
    /* The broker kept none. */
    assert_int_equal(support_fds(), before);
    close(file);
    close(sock);
}

static void an_id_in_flight_is_not_free(void **state)
{
    struct link_reply answer = { .op = LINK_STATUS };
    uint64_t client;
    int sock = broker_rig_greeted(&client);

    (void)state;
    assert_int_equal(raw_send_status(sock, 5), 0);
    answer.tag = broker_rig_expect(LINK_STATUS, client);
    broker_rig_answer(&answer, -1, 0);
    broker_rig_reply(sock, &reply);
    /* Answered: free again. */
    assert_int_equal(raw_send_status(sock, 5), 0);
    broker_rig_expect(LINK_STATUS, client);
    assert_int_equal(raw_send_status(sock, 5), 0);
    broker_rig_expect(LINK_CLIENT_GONE, client);
    assert_true(raw_ended(sock));
    assert_int_equal(broker_rig.broker.asked.count, 0);
    close(sock);
}

/* ---- answers ---- */

/* Two clients with the same ids, answered backwards. */
static void answers_find_who_asked(void **state)
{
    uint64_t clients[2], tags[2][3];
    int socks[2] = { broker_rig_greeted(&clients[0]), broker_rig_greeted(&clients[1]) };

    (void)state;
    for (uint64_t i = 0; i < 3; i++) {
        for (size_t c = 0; c < 2; c++) {
            assert_int_equal(raw_send_status(socks[c], 10 + i), 0);
            tags[c][i] = broker_rig_expect(LINK_STATUS, clients[c]);
        }
    }
    for (size_t i = 3; i-- > 0;) {
        for (size_t c = 0; c < 2; c++) {
            struct link_reply answer = { .op = LINK_STATUS, .tag = tags[c][i] };

            answer.u.status.buffers = (uint32_t)(100 * c + i);
            broker_rig_answer(&answer, -1, 0);
            assert_true(broker_rig_silent(socks[1 - c]));
            broker_rig_reply(socks[c], &reply);
            assert_int_equal(reply.message->id, 10 + i);
            assert_int_equal(reply.message->status->buffers, 100 * c + i);
        }
    }
    assert_int_equal(broker_rig.broker.asked.count, 0);
    close(socks[0]);
    close(socks[1]);
}

static void refusals_are_passed_on_untouched(void **state)
{
    struct link_reply answer = { .op = LINK_ALLOC, .error = ENOSPC };
    uint64_t client;
    int sock = broker_rig_greeted(&client);

    (void)state;
    assert_int_equal(raw_send_allocate(sock, 9, 4096), 0);
    answer.tag = broker_rig_expect(LINK_ALLOC, client);
    fault_set(&answer.u.fault, DMABUFD_CODE_CONSTRAINTS, ENOSPC, "7 segments, 3 are allowed");
    broker_rig_answer(&answer, -1, 0);
    broker_rig_reply(sock, &reply);
    assert_true(raw_is_error(&reply, 9, DMABUFD_CODE_CONSTRAINTS, ENOSPC));
    assert_string_equal(reply.message->error->text, "7 segments, 3 are allowed");
    close(sock);
}

/* The memory first, then the table of the spans that do not fit into the message. */
static void buffers_come_with_their_descriptors(void **state)
{
    struct link_reply answer = { .op = LINK_ALLOC,
                                 .u.buffer = { .id = 3, .size = 8192, .span_count = 1 } };
    const Dmabufd__Proto__BufferReply *buffer;
    int file = make_file();
    uint64_t client;
    int sock = broker_rig_greeted(&client);

    (void)state;
    answer.u.buffer.spans[0] = (struct dmabufd_span){ 0, UINT64_C(1) << 53, 8192 };
    for (int i = 0; i < 2; i++) {
        assert_int_equal(raw_send_allocate(sock, 9, 8192), 0);
        answer.tag = broker_rig_expect(LINK_ALLOC, client);
        if (i == 1)
            answer.u.buffer.span_count = PROTO_SPANS_INLINE_MAX + 1;
        broker_rig_answer(&answer, file, i == 0 ? 1 : 2);
        broker_rig_reply(sock, &reply);
        buffer = reply.message->buffer;
        assert_int_equal(buffer->buffer, 3);
        assert_int_equal(buffer->size, 8192);
        assert_int_equal(buffer->span_count, answer.u.buffer.span_count);
        assert_int_equal(buffer->spans.len, i == 0 ? sizeof(struct dmabufd_span) : 0);
        assert_int_equal(reply.fds.count, i == 0 ? 1 : 2);
        assert_int_equal(inode(reply.fds.fd[0]), inode(file));
        wire_fds_close(&reply.fds);
    }
    close(file);
    close(sock);
}

/* Nobody gets what another asked for, also in its place and with its number. */
static void answers_to_who_left_go_nowhere(void **state)
{
    struct link_reply answer = { .op = LINK_ALLOC, .u.buffer = { .id = 3, .size = 4096 } };
    uint64_t gone, client;
    size_t before;
    int sock = broker_rig_greeted(&gone);

    (void)state;
    assert_int_equal(raw_send_allocate(sock, 9, 4096), 0);
    answer.tag = broker_rig_expect(LINK_ALLOC, gone);
    close(sock);
    broker_rig_expect(LINK_CLIENT_GONE, gone);
    assert_int_equal(broker_rig.broker.asked.count, 0);
    sock = broker_rig_greeted(&client);
    assert_int_not_equal(client, gone);
    assert_int_equal(raw_send_allocate(sock, 9, 4096), 0);
    assert_int_not_equal(broker_rig_expect(LINK_ALLOC, client), answer.tag);
    before = support_fds();
    broker_rig_answer(&answer, STDIN_FILENO, 1);
    assert_true(broker_rig_silent(sock));
    assert_int_equal(support_fds(), before);
    assert_int_equal(broker_rig.broker.asked.count, 1);
    close(sock);
}

/* The client is told, and knows of nothing that it would have to give back. */
static void lose_descriptors_of(int sock, uint64_t client, uint32_t op)
{
    struct link_reply answer = { .op = op,
                                 .u.buffer = { .id = 42, .size = 4096, .span_count = 1 } };
    uint64_t saved;

    answer.tag = broker_rig_expect(op, client);
    saved = support_leave_room(0);
    broker_rig_answer(&answer, STDIN_FILENO, 1);
    support_restore_room(saved);
    broker_rig_reply(sock, &reply);
    assert_true(raw_is_error(&reply, 9, DMABUFD_CODE_LIMIT, EMFILE));
}

/* Descriptors that the broker had no room for: the buffer, if it is one, goes back. */
static void lost_descriptors_give_the_buffer_back(void **state)
{
    unsigned char bytes[PROTO_REQUEST_MAX];
    struct link_request asked;
    struct link_reply answer;
    uint64_t client;
    int sock = broker_rig_greeted(&client);

    (void)state;
    for (int i = 0; i < 2; i++) {
        size_t size = i == 0 ? raw_allocate(bytes, 9, 4096, 0) : raw_open(bytes, 9, "x", 1);

        assert_int_equal(raw_send(sock, bytes, size, -1, 0), 0);
        lose_descriptors_of(sock, client, i == 0 ? LINK_ALLOC : LINK_OPEN);
        assert_true(broker_rig_asked(&asked, NULL));
        assert_int_equal(asked.op, LINK_FREE);
        assert_int_equal(asked.client, client);
        assert_int_equal(asked.u.buffer, 42);
        assert_false(broker_rig_asked(&asked, NULL));
        /* Its answer is nobody's. */
        answer = (struct link_reply){ .op = LINK_FREE, .tag = asked.tag };
        broker_rig_answer(&answer, -1, 0);
        assert_true(broker_rig_silent(sock));
    }
    assert_int_equal(raw_send(sock, bytes, raw_share(bytes, 9, 42), -1, 0), 0);
    lose_descriptors_of(sock, client, LINK_SHARE);
    assert_false(broker_rig_asked(&asked, NULL));
    close(sock);
}

/* ---- shares and names ---- */

static void names_arrive_whole(void **state)
{
    char longest[PROTO_NAME_MAX + 2];
    unsigned char bytes[PROTO_REQUEST_MAX];
    struct link_request asked;
    int sock = broker_rig_greeted(NULL);

    (void)state;
    memset(longest, 'x', sizeof(longest) - 1);
    longest[PROTO_NAME_MAX + 1] = '\0';
    for (int i = 0; i < 4; i++) {
        size_t size = i == 0   ? raw_publish(bytes, 9, 3, longest, 0640)
                      : i == 1 ? raw_open(bytes, 9, longest, DMABUFD_READ_ONLY)
                      : i == 2 ? raw_names(bytes, 9, longest)
                               : raw_unpublish(bytes, 9, longest);

        assert_int_equal(raw_send(sock, bytes, size, -1, 0), 0);
        broker_rig_reply(sock, &reply);
        assert_true(raw_is_error(&reply, 9, DMABUFD_CODE_INVALID, EINVAL));
        assert_false(broker_rig_asked(&asked, NULL));
    }
    longest[PROTO_NAME_MAX] = '\0';
    assert_int_equal(raw_send(sock, bytes, raw_publish(bytes, 9, UINT64_MAX, longest, 0640), -1, 0),
                     0);
    assert_true(broker_rig_asked(&asked, NULL));
    assert_int_equal(asked.op, LINK_PUBLISH);
    assert_int_equal(asked.u.publication.buffer, UINT64_MAX);
    assert_int_equal(asked.u.publication.mode, 0640);
    assert_int_equal(asked.u.publication.group, UINT32_MAX);
    assert_string_equal(asked.u.publication.name.text, longest);
    assert_int_equal(raw_send(sock, bytes, raw_open(bytes, 8, longest, 77), -1, 0), 0);
    assert_true(broker_rig_asked(&asked, NULL));
    assert_int_equal(asked.op, LINK_OPEN);
    assert_int_equal(asked.u.opening.access, 77);
    assert_int_equal(asked.u.opening.owner, UINT32_MAX);
    assert_string_equal(asked.u.opening.name.text, longest);
    close(sock);
}

/* As they are at this moment, of whoever runs this; none, one message or several. */
static void groups_are_told(void **state)
{
    static gid_t mine[NGROUPS_MAX];
    int count = getgroups(NGROUPS_MAX, mine), told = 0;
    struct link_request asked;
    int sock;

    (void)state;
    assert_true(count >= 0);
    broker_rig.group_messages = 0;
    sock = broker_rig_greeted(NULL);
    assert_false(broker_rig_asked(&asked, NULL));
    for (size_t i = 0; i < broker_rig.group_messages; i++) {
        const struct link_groups *groups = &broker_rig.groups[i];

        assert_in_range(groups->count, 1, LINK_GROUPS_CHUNK);
        assert_int_equal(groups->cut, count > (int)LINK_GROUPS_MAX);
        for (uint32_t j = 0; j < groups->count; j++)
            assert_int_equal(groups->gid[j], mine[told++]);
    }
    assert_int_equal(told, count > (int)LINK_GROUPS_MAX ? (int)LINK_GROUPS_MAX : count);
    close(sock);
}

/* ---- the link ---- */

static void pings_are_answered(void **state)
{
    struct link_reply ping = { .op = LINK_PING };
    struct link_request asked;
    uint64_t client;
    int sock = broker_rig_greeted(&client);

    (void)state;
    /* Also one with the tag of a question: it is not an answer to that. */
    assert_int_equal(raw_send_status(sock, 2), 0);
    ping.tag = broker_rig_expect(LINK_STATUS, client);
    for (int i = 0; i < 3; i++) {
        broker_rig_answer(&ping, -1, 0);
        assert_true(broker_rig_asked(&asked, NULL));
        assert_int_equal(asked.op, LINK_PING);
        assert_int_equal(asked.tag, ping.tag);
        assert_false(broker_rig_asked(&asked, NULL));
        ping.tag += UINT64_MAX / 2;
    }
    assert_int_equal(broker_rig.broker.asked.count, 1);
    assert_true(broker_rig_silent(sock));
    close(sock);
}

static void the_end_of_the_link_is_the_end(void **state)
{
    (void)state;
    fd_close(&broker_rig.keeper);
    assert_int_equal(event_base_dispatch(broker_rig.broker.base), 0);
    assert_true(event_base_got_break(broker_rig.broker.base));
    assert_int_equal(broker_rig.broker.status, 0);
}

static void a_broken_link_is_an_error(void **state)
{
    (void)state;
    assert_int_equal(raw_send(broker_rig.keeper, "odd", 3, -1, 0), 0);
    assert_int_equal(event_base_dispatch(broker_rig.broker.base), 0);
    assert_true(event_base_got_break(broker_rig.broker.base));
    assert_int_equal(broker_rig.broker.status, 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, broker_rig_setup, broker_rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(allocations_arrive_whole),
        TEST(descriptors_move_on),
        TEST(an_id_in_flight_is_not_free),
        TEST(answers_find_who_asked),
        TEST(refusals_are_passed_on_untouched),
        TEST(buffers_come_with_their_descriptors),
        TEST(answers_to_who_left_go_nowhere),
        TEST(lost_descriptors_give_the_buffer_back),
        TEST(names_arrive_whole),
        TEST(groups_are_told),
        TEST(pings_are_answered),
        TEST(the_end_of_the_link_is_the_end),
        TEST(a_broken_link_is_an_error),
    };

    return cmocka_run_group_tests_name("upstream", tests, NULL, NULL);
}
