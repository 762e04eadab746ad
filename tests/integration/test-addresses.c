/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Whether the addresses are true: what a client without privilege was told is compared, page by page,
 * with what the kernel shows root in the client's /proc/PID/pagemap; and no two live buffers have an
 * address in common. Then buffers are shared between processes, and clients are killed.
 *
 * With the fake backend the comparison with pagemap is left out: its addresses are meant to be wrong.
 */
#include <dmabufd.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/integration/group.h"

#define MIB (UINT64_C(1) << 20)
/* Two clients, and each page on its own in the worst case. */
#define SPANS_MAX 40000U

/* What a client tells of each of its buffers. */
struct told {
    uint64_t address; /* virtual, in the client */
    uint64_t size;
    uint64_t span_count;
};

struct plan {
    int sock; /* a stream */
    size_t count;
    uint64_t size[8];
    uint64_t page_size[8];
};

static int tell(void *data)
{
    const struct plan *plan = data;
    char go;
    dmabufd *d;

    CHECK(dmabufd_connect(&d, NULL) == 0);
    for (size_t i = 0; i < plan->count; i++) {
        const struct dmabufd_span *spans;
        dmabufd_buffer *buffer;
        struct told told;
        size_t count;

        CHECK(dmabufd_alloc(d, plan->size[i], plan->page_size[i], &buffer) == 0);
        spans = dmabufd_buffer_spans(buffer, &count);
        memset(dmabufd_buffer_data(buffer), 1, dmabufd_buffer_size(buffer));
        told = (struct told){ (uintptr_t)dmabufd_buffer_data(buffer), dmabufd_buffer_size(buffer),
                              count };
        CHECK(write_all(plan->sock, &told, sizeof(told)));
        CHECK(write_all(plan->sock, spans, count * sizeof(*spans)));
    }
    CHECK(read_all(plan->sock, &go, 1));
    dmabufd_disconnect(d);
    return 0;
}

struct known {
    struct dmabufd_span spans[SPANS_MAX];
    size_t count;
};

static int by_address(const void *a, const void *b)
{
    const struct dmabufd_span *x = a, *y = b;

    return x->dma_addr < y->dma_addr ? -1 : x->dma_addr > y->dma_addr;
}

static void compare_with_pagemap(pid_t pid, const struct told *told,
                                 const struct dmabufd_span *spans)
{
    uint64_t pages = 0;

    for (uint64_t i = 0; i < told->span_count; i++) {
        for (uint64_t at = 0; at < spans[i].length; at += 4096) {
            assert_int_equal(frame_of(pid, told->address + spans[i].offset + at),
                             spans[i].dma_addr + at);
            pages++;
        }
    }
    assert_int_equal(pages, told->size / 4096);
}

/* Receives all buffers of a client, checks each, collects all spans in @known. */
static void check_told(int sock, pid_t pid, size_t count, struct known *known)
{
    bool real = strcmp(test_backend(), "fake") != 0 && getuid() == 0;

    for (size_t i = 0; i < count; i++) {
        struct dmabufd_span *spans = &known->spans[known->count];
        uint64_t end = 0;
        struct told told;

        assert_true(read_all(sock, &told, sizeof(told)));
        assert_in_range(told.span_count, 1, SPANS_MAX - known->count);
        assert_true(read_all(sock, spans, told.span_count * sizeof(*spans)));
        for (uint64_t s = 0; s < told.span_count; s++) {
            assert_int_equal(spans[s].offset, end);
            if (s > 0)
                assert_int_not_equal(spans[s - 1].dma_addr + spans[s - 1].length,
                                     spans[s].dma_addr);
            end += spans[s].length;
        }
        assert_int_equal(end, told.size);
        if (real)
            compare_with_pagemap(pid, &told, spans);
        known->count += told.span_count;
    }
}

static void check_no_overlap(struct known *known)
{
    qsort(known->spans, known->count, sizeof(known->spans[0]), by_address);
    for (size_t i = 1; i < known->count; i++)
        assert_true(known->spans[i - 1].dma_addr + known->spans[i - 1].length <=
                    known->spans[i].dma_addr);
}

static void check_plan(struct plan *plan)
{
    struct known *known = calloc(1, sizeof(*known));
    struct leftovers before;
    int pairs[2][2];
    pid_t pids[2];

    assert_non_null(known);
    leftovers_read(&daemon_of_group, &before);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pairs[i]), 0);
        plan->sock = pairs[i][1];
        pids[i] = spawn_as(i ? TEST_OTHER_UID : TEST_CLIENT_UID, tell, plan);
        close(pairs[i][1]);
    }
    for (int i = 0; i < 2; i++)
        check_told(pairs[i][0], pids[i], plan->count, known);
    check_no_overlap(known);
    free(known);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(write(pairs[i][0], "g", 1), 1);
        assert_int_equal(join(pids[i]), 0);
        close(pairs[i][0]);
    }
    leftovers_settle(&daemon_of_group, &before);
}

static void true_and_disjoint_small_pages(void **state)
{
    struct plan plan = { .count = 4,
                         .size = { 4096, 2 * MIB, 64 * MIB, 3 * 4096 },
                         .page_size = { 4096, 4096, 4096, 4096 } };

    (void)state;
    check_plan(&plan);
}

static void true_and_disjoint_huge_pages(void **state)
{
    struct plan plan = { .count = 2,
                         .size = { 2 * MIB, 32 * MIB },
                         .page_size = { 2 * MIB, 2 * MIB } };

    (void)state;
    if (huge_pages_free(2 * MIB) < 2 * 17) {
        print_message("needs 34 free huge pages of 2 MiB\n");
        skip();
    }
    check_plan(&plan);
}

static void true_and_disjoint_huge_64(void **state)
{
    struct plan plan = { .count = 1, .size = { 64 * MIB }, .page_size = { 2 * MIB } };

    (void)state;
    if (huge_pages_free(2 * MIB) < 64) {
        print_message("needs 64 free huge pages of 2 MiB\n");
        skip();
    }
    check_plan(&plan);
}

/* ---- sharing ---- */

static bool same_spans(dmabufd_buffer *buffer, int sock, bool send)
{
    struct dmabufd_span theirs[64];
    const struct dmabufd_span *spans;
    size_t count;

    spans = dmabufd_buffer_spans(buffer, &count);
    if (count > 64)
        return false;
    if (send)
        return write_all(sock, &count, sizeof(count)) &&
               write_all(sock, spans, count * sizeof(*spans));
    {
        size_t their_count;

        return read_all(sock, &their_count, sizeof(their_count)) && their_count == count &&
               read_all(sock, theirs, count * sizeof(*spans)) &&
               memcmp(spans, theirs, count * sizeof(*spans)) == 0;
    }
}

struct pair {
    int fds;    /* SOCK_SEQPACKET: descriptors */
    int stream; /* spans and turns */
};

/* Allocates, passes the descriptor on, and dies without a word. */
static int first_owner(void *data)
{
    const struct pair *pair = data;
    dmabufd_buffer *buffer;
    dmabufd *d;
    char turn;

    CHECK(dmabufd_connect(&d, NULL) == 0);
    CHECK(dmabufd_alloc(d, 128 * 1024, 4096, &buffer) == 0);
    strcpy(dmabufd_buffer_data(buffer), "from the first owner");
    send_fd(pair->fds, dmabufd_buffer_fd(buffer), dmabufd_buffer_id(buffer));
    CHECK(same_spans(buffer, pair->stream, true));
    CHECK(read_all(pair->stream, &turn, 1));
    CHECK(strcmp(dmabufd_buffer_data(buffer), "from the second") == 0);
    kill(getpid(), SIGKILL);
    return 1;
}

static int second_owner(void *data)
{
    const struct pair *pair = data;
    dmabufd_buffer *buffer;
    uint64_t id, address, length;
    struct dmabufd_buffer_info *list;
    size_t count;
    dmabufd *d;
    int fd;

    CHECK(dmabufd_connect(&d, NULL) == 0);
    fd = receive_fd(pair->fds, &id);
    CHECK(dmabufd_lookup(d, fd, &buffer) == 0);
    close(fd);
    CHECK(dmabufd_buffer_id(buffer) == id);
    CHECK(same_spans(buffer, pair->stream, false));
    CHECK(dmabufd_translate(d, dmabufd_buffer_data(buffer), &address, &length) == 0);
    CHECK(strcmp(dmabufd_buffer_data(buffer), "from the first owner") == 0);
    CHECK(dmabufd_list(d, &list, &count) == 0 && count == 1 && list->holders == 2);
    free(list);
    strcpy(dmabufd_buffer_data(buffer), "from the second");
    CHECK(write_all(pair->stream, "t", 1));
    /* End of file: the first owner is dead. The buffer lives on, with us as its only holder. */
    CHECK(read(pair->stream, &id, 1) == 0);
    do {
        CHECK(dmabufd_list(d, &list, &count) == 0 && count == 1);
        count = list->holders;
        free(list);
        usleep(1000);
    } while (count != 1);
    CHECK(strcmp(dmabufd_buffer_data(buffer), "from the second") == 0);
    CHECK(dmabufd_buffer_translate(buffer, 0, &id, &length) == 0 && id == address);
    CHECK(dmabufd_free(buffer) == 0);
    dmabufd_disconnect(d);
    return 0;
}

static void shared_until_the_last_goes(void **state)
{
    struct leftovers before;
    struct pair pairs[2];
    int fds[2], stream[2];
    pid_t first, second;

    (void)state;
    leftovers_read(&daemon_of_group, &before);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, stream), 0);
    pairs[0] = (struct pair){ fds[0], stream[0] };
    pairs[1] = (struct pair){ fds[1], stream[1] };
    first = spawn_as(TEST_CLIENT_UID, first_owner, &pairs[0]);
    close(fds[0]);
    close(stream[0]);
    second = spawn_as(TEST_OTHER_UID, second_owner, &pairs[1]);
    close(fds[1]);
    close(stream[1]);
    assert_int_equal(join(first), 128 + SIGKILL);
    assert_int_equal(join(second), 0);
    leftovers_settle(&daemon_of_group, &before);
}

/* ---- sudden death ---- */

static int hold_until_killed(void *data)
{
    int sock = *(int *)data;
    dmabufd_buffer *buffer;
    dmabufd *d;

    CHECK(dmabufd_connect(&d, NULL) == 0);
    CHECK(dmabufd_alloc(d, 64 * 1024, 4096, &buffer) == 0);
    CHECK(dmabufd_alloc(d, 2 * MIB, 0, &buffer) == 0);
    CHECK(write_all(sock, "h", 1));
    /* Killed anywhere in here, also with a request on the way. */
    for (;;) {
        CHECK(dmabufd_alloc(d, 4096, 4096, &buffer) == 0);
        CHECK(dmabufd_free(buffer) == 0);
    }
    return 0;
}

static void killed_clients_leave_nothing(void **state)
{
    const char *rounds_text = getenv("DMABUFD_TEST_KILLS");
    int rounds = rounds_text ? atoi(rounds_text) : 100;
    struct leftovers before;

    (void)state;
    assert_true(rounds > 0);
    leftovers_read(&daemon_of_group, &before);
    for (int i = 0; i < rounds; i++) {
        int pair[2];
        pid_t pid;
        char held;

        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
        pid = spawn_as(TEST_CLIENT_UID, hold_until_killed, &pair[1]);
        close(pair[1]);
        assert_true(read_all(pair[0], &held, 1));
        usleep((useconds_t)(i * 37 % 1500));
        kill(pid, SIGKILL);
        assert_int_equal(join(pid), 128 + SIGKILL);
        close(pair[0]);
    }
    leftovers_settle(&daemon_of_group, &before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(true_and_disjoint_small_pages),
        cmocka_unit_test(true_and_disjoint_huge_pages),
        cmocka_unit_test(true_and_disjoint_huge_64),
        cmocka_unit_test(shared_until_the_last_goes),
        cmocka_unit_test(killed_clients_leave_nothing),
    };

    return cmocka_run_group_tests_name("addresses", tests, group_start, group_stop);
}
