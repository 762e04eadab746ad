/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Quota: one user, however many connections it makes, has its share of the memory and not more, in
 * whatever way it holds it; another user has its own; and what is refused names the user's limit and
 * usage, nobody else's.
 *
 * Half of --memory-limit if not told otherwise. Needs root for more than one user. Against any backend.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/integration/harness.h"
#include "tests/integration/own.h"

#define KIB UINT64_C(1024)
#define MIB (KIB * KIB)

static struct daemon daemon_of_test;

static void start(const char *const *args)
{
    daemon_start(&daemon_of_test, args);
}

static int clean_up(void **state)
{
    (void)state;
    if (daemon_of_test.keeper > 0)
        daemon_kill(&daemon_of_test);
    daemon_of_test.keeper = 0;
    return 0;
}

static bool is_refused(int r, const char *usage, const char *limit)
{
    return r == -ENOMEM && dmabufd_last_code() == DMABUFD_CODE_NO_MEMORY &&
           strstr(dmabufd_last_error(), "--memory-limit-per-user") &&
           strstr(dmabufd_last_error(), usage) && strstr(dmabufd_last_error(), limit);
}

/* The share is 8 MiB, for all its connections together, and for registered memory. */
static int takes_its_share(void *data)
{
    dmabufd_buffer *first, *second, *third;
    int fd = own_memory(4 * MIB, 0, 1, NULL);
    dmabufd *a, *b;

    (void)data;
    CHECK(fd >= 0 && dmabufd_connect(&a, NULL) == 0 && dmabufd_connect(&b, NULL) == 0);
    CHECK(is_refused(dmabufd_alloc(a, 8 * MIB + 1, 4 * KIB, &first), "has 0 MiB", "is 8 MiB"));
    for (int i = 0; i < 10; i++) {
        CHECK(dmabufd_alloc(a, 4 * MIB, 4 * KIB, &first) == 0);
        CHECK(dmabufd_register(b, fd, 0, 4 * MIB, NULL, &second) == 0);
        CHECK(is_refused(dmabufd_alloc(a, 1, 4 * KIB, &third), "has 8 MiB", "is 8 MiB"));
        CHECK(is_refused(dmabufd_register(a, fd, 0, 4 * KIB, NULL, &third), "has 8 MiB", "8 MiB"));
        /* Its own again costs nothing. */
        CHECK(dmabufd_lookup(b, dmabufd_buffer_fd(first), &third) == 0);
        CHECK(dmabufd_free(first) == 0);
        CHECK(is_refused(dmabufd_alloc(a, 1, 4 * KIB, &first), "has 8 MiB", "is 8 MiB"));
        CHECK(dmabufd_free(third) == 0);
        CHECK(dmabufd_alloc(b, 4 * MIB, 4 * KIB, &first) == 0);
        CHECK(dmabufd_free(second) == 0);
        CHECK(dmabufd_free(first) == 0);
    }
    dmabufd_disconnect(a);
    dmabufd_disconnect(b);
    return 0;
}

struct holder {
    int sock;
    uint64_t size;
};

/* Takes all there is for it, passes it on, and holds it until told to go. */
static int hold(void *data)
{
    const struct holder *holder = data;
    dmabufd_buffer *buffer, *more;
    dmabufd *d;
    char go;

    CHECK(dmabufd_connect(&d, NULL) == 0);
    CHECK(dmabufd_alloc(d, holder->size, 4 * KIB, &buffer) == 0);
    CHECK(dmabufd_alloc(d, 1, 4 * KIB, &more) == -ENOMEM);
    send_fd(holder->sock, fcntl(dmabufd_buffer_fd(buffer), F_DUPFD_CLOEXEC, 0), 0);
    CHECK(recv(holder->sock, &go, 1, 0) == 1);
    return 0;
}

static int start_holder(uint64_t size, pid_t *ret, int *ret_fd)
{
    struct holder holder = { .size = size };
    uint64_t number;
    int pair[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    holder.sock = pair[1];
    *ret = spawn_as(TEST_CLIENT_UID, hold, &holder);
    close(pair[1]);
    *ret_fd = receive_fd(pair[0], &number);
    assert_true(*ret_fd >= 0);
    return pair[0];
}

static void need_users(void)
{
    if (getuid() == 0)
        return;
    print_message("needs two users: run as root\n");
    skip();
}

static void share_of_a_user(void **state)
{
    static const char *const args[] = { "--memory-limit=16M", NULL };
    struct leftovers before;
    pid_t pid;
    int sock, fd;

    (void)state;
    start(args);
    leftovers_read(&daemon_of_test, &before);
    run_as(TEST_CLIENT_UID, takes_its_share, NULL);
    run_as(TEST_CLIENT_UID, takes_its_share, NULL);
    leftovers_settle(&daemon_of_test, &before);
    if (getuid() == 0) {
        sock = start_holder(8 * MIB, &pid, &fd);
        close(fd);
        run_as(TEST_OTHER_UID, takes_its_share, NULL);
        assert_true(write_all(sock, "g", 1));
        assert_int_equal(join(pid), 0);
        close(sock);
    }
    leftovers_settle(&daemon_of_test, &before);
    daemon_stop(&daemon_of_test);
}

static int cannot_hold(void *data)
{
    dmabufd_buffer *own, *shared;
    dmabufd *d;
    int fd = *(int *)data;

    CHECK(dmabufd_connect(&d, NULL) == 0);
    CHECK(dmabufd_alloc(d, MIB, 4 * KIB, &own) == 0);
    CHECK(is_refused(dmabufd_lookup(d, fd, &shared), "has 1 MiB", "is 6 MiB"));
    CHECK(dmabufd_free(own) == 0);
    CHECK(dmabufd_lookup(d, fd, &shared) == 0);
    CHECK(is_refused(dmabufd_alloc(d, 1, 4 * KIB, &own), "has 6 MiB", "is 6 MiB"));
    dmabufd_disconnect(d);
    return 0;
}

/* Who holds what another made may be the one that keeps it, and is charged for it. */
static void shared_with_another_user(void **state)
{
    static const char *const args[] = { "--memory-limit=16M", "--memory-limit-per-user=6M", NULL };
    struct leftovers before;
    pid_t pid;
    int sock, fd;

    (void)state;
    need_users();
    start(args);
    leftovers_read(&daemon_of_test, &before);
    sock = start_holder(6 * MIB, &pid, &fd);
    run_as(TEST_OTHER_UID, cannot_hold, &fd);
    assert_true(write_all(sock, "g", 1));
    assert_int_equal(join(pid), 0);
    close(sock);
    close(fd);
    leftovers_settle(&daemon_of_test, &before);
    daemon_stop(&daemon_of_test);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(share_of_a_user, clean_up),
        cmocka_unit_test_teardown(shared_with_another_user, clean_up),
    };

    return cmocka_run_group_tests_name("quota", tests, NULL, NULL);
}
