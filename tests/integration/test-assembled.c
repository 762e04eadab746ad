/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Buffers that the daemon assembled out of several files of its pool: one range of addresses for the
 * client, a token for others.
 *
 * Needs free huge pages of 2 MiB; skipped without.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/integration/harness.h"
#include "tests/integration/ready.h"

#define HUGE  (UINT64_C(2) << 20)
#define NEEDS 48U

static const char *const with_pool[] = { "--pool=2M:40", NULL };
static struct daemon daemon_of_test;
static dmabufd *admin;

/* Three pages are no size that the pool has. */
static const struct dmabufd_constraints few_segments = { .max_segments = 64 };

static int start(void **state)
{
    (void)state;
    if (huge_pages_free(HUGE) < NEEDS)
        return 0;
    daemon_start(&daemon_of_test, with_pool);
    if (dmabufd_connect(&admin, NULL) < 0)
        return -1;
    ready_await(admin);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    if (!admin)
        return 0;
    admin = dmabufd_disconnect(admin);
    daemon_stop(&daemon_of_test);
    return 0;
}

#define NEED_PAGES() \
    do {             \
        if (!admin)  \
            skip();  \
    } while (0)

static void assembles(void **state)
{
    struct leftovers before;
    dmabufd_buffer *buffer;
    dmabufd *d;

    (void)state;
    NEED_PAGES();
    leftovers_read(&daemon_of_test, &before);
    assert_int_equal(dmabufd_connect(&d, NULL), 0);
    assert_int_equal(dmabufd_alloc_constrained(d, 3 * HUGE, 0, &few_segments, &buffer), 0);
    assert_int_equal(dmabufd_buffer_size(buffer), 3 * HUGE);
    assert_true(dmabufd_buffer_chunk_count(buffer) >= 2);
    assert_int_equal(ready_check(buffer), 0);
    assert_int_equal(dmabufd_free(buffer), 0);
    dmabufd_disconnect(d);
    ready_await(admin);
    leftovers_settle(&daemon_of_test, &before);
}

static int look_up_token(void *data)
{
    int sock = *(int *)data;
    bool writable;
    dmabufd_buffer *buffer;
    unsigned char *bytes;
    uint64_t sum = 0, access;
    dmabufd *d;
    int fd = receive_fd(sock, &access);

    writable = access == DMABUFD_READ_WRITE;
    CHECK(dmabufd_connect(&d, NULL) == 0);
    CHECK(dmabufd_lookup(d, fd, &buffer) == 0);
    CHECK(dmabufd_buffer_access(buffer) == (enum dmabufd_access)access);
    CHECK(dmabufd_buffer_chunk_count(buffer) >= 2);
    bytes = dmabufd_buffer_data(buffer);
    for (uint64_t at = 0; at < dmabufd_buffer_size(buffer); at += HUGE)
        sum += bytes[at];
    CHECK(sum == 3 * 7);
    if (writable)
        memset(bytes, 9, dmabufd_buffer_size(buffer));
    else
        CHECK(mprotect(bytes, 3 * HUGE, PROT_READ | PROT_WRITE) < 0 && errno == EACCES);
    close(fd);
    dmabufd_disconnect(d);
    return 0;
}

static void share_token(const dmabufd_buffer *buffer, enum dmabufd_access access)
{
    int pair[2], fd = -1;
    pid_t pid;

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    pid = spawn_as(TEST_OTHER_UID, look_up_token, &pair[1]);
    if (access == DMABUFD_READ_ONLY)
        assert_int_equal(dmabufd_share(buffer, &fd), 0);
    send_fd(pair[0], fd >= 0 ? fd : dmabufd_buffer_fd(buffer), access);
    assert_int_equal(join(pid), 0);
    if (fd >= 0)
        close(fd);
    close(pair[0]);
    close(pair[1]);
}

static void shares_by_token(void **state)
{
    struct leftovers before;
    dmabufd_buffer *buffer;
    unsigned char *bytes;
    dmabufd *d;

    (void)state;
    NEED_PAGES();
    leftovers_read(&daemon_of_test, &before);
    assert_int_equal(dmabufd_connect(&d, NULL), 0);
    assert_int_equal(dmabufd_alloc_constrained(d, 3 * HUGE, 0, &few_segments, &buffer), 0);
    bytes = dmabufd_buffer_data(buffer);
    memset(bytes, 7, 3 * HUGE);
    share_token(buffer, DMABUFD_READ_ONLY);
    assert_int_equal(bytes[3 * HUGE - 1], 7);
    share_token(buffer, DMABUFD_READ_WRITE);
    assert_int_equal(bytes[3 * HUGE - 1], 9);
    dmabufd_disconnect(d);
    ready_await(admin);
    leftovers_settle(&daemon_of_test, &before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(assembles),
        cmocka_unit_test(shares_by_token),
    };

    return cmocka_run_group_tests_name("assembled", tests, start, stop);
}
