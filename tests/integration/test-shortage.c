/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Shortage: a process of the daemon that has no descriptor left, first the keeper, then the broker.
 * The request that needed one is refused in plain words, nothing is lost, connections go on, and
 * when there are descriptors again everything works.
 *
 * The limit is lowered from outside while the daemon runs, to the very number. Needs the fake
 * backend's script for long scatter lists.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "tests/integration/bystander.h"
#include "tests/integration/raw.h"

#define LONG_SIZE (UINT64_C(33) * 4096) /* its scatter list has one span too many for a message */

static struct daemon daemon_of_test;
static struct bystander bystander;

static int start(void **state)
{
    static const char *const args[] = { "--fake=layout=run:4K", NULL };

    (void)state;
    daemon_start_with(&daemon_of_test, "fake", args);
    bystander_start(&bystander, &daemon_of_test);
    bystander_before(&bystander);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    bystander_stop(&bystander);
    daemon_stop(&daemon_of_test);
    return 0;
}

/* ---- lowering the limit ---- */

static bool is_open(pid_t pid, unsigned int number)
{
    char path[64], target[8];

    snprintf(path, sizeof(path), "/proc/%d/fd/%u", (int)pid, number);
    return readlink(path, target, sizeof(target)) > 0;
}

struct lowering {
    pid_t pid;
    rlim_t number; /* 0: as it was */
};

/* As the user whose process it is: that needs no privilege. */
static int set_limit(void *data)
{
    const struct lowering *lowering = data;
    struct rlimit limit;

    CHECK(prlimit(lowering->pid, RLIMIT_NOFILE, NULL, &limit) == 0);
    limit.rlim_cur = lowering->number ? lowering->number : limit.rlim_max;
    CHECK(prlimit(lowering->pid, RLIMIT_NOFILE, &limit, NULL) == 0);
    return 0;
}

static void set_limit_of(pid_t pid, rlim_t number)
{
    struct lowering lowering = { pid, number };

    run_as(pid == bystander.broker ? TEST_BROKER_UID : getuid(), set_limit, &lowering);
}

/* What was asked of it before may still be closing descriptors. */
static void wait_for_quiet(pid_t pid)
{
    unsigned int last = count_fds(pid);

    for (int same = 0; same < 20;) {
        unsigned int now;

        usleep(10000);
        now = count_fds(pid);
        same = now == last ? same + 1 : 0;
        last = now;
    }
}

/* The process can open @count more descriptors. */
static void leave_descriptors(pid_t pid, unsigned int count)
{
    unsigned int number = 0;

    wait_for_quiet(pid);
    for (unsigned int left = count;; number++) {
        if (is_open(pid, number))
            continue;
        if (left == 0)
            break;
        left--;
    }
    set_limit_of(pid, number);
}

static void give_plenty(pid_t pid)
{
    set_limit_of(pid, 0);
}

/* ---- what is refused ---- */

static void assert_says_so(int r)
{
    assert_int_equal(r, -EMFILE);
    assert_int_equal(dmabufd_last_code(), DMABUFD_CODE_LIMIT);
    assert_non_null(strstr(dmabufd_last_error(), "LimitNOFILE"));
}

/* A memfd as dmabufd_register() wants it. */
static int own_memory(void)
{
    int fd = memfd_create("own", MFD_ALLOW_SEALING);
    void *memory;

    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, 4096), 0);
    memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    assert_ptr_not_equal(memory, MAP_FAILED);
    memset(memory, 1, 4096);
    munmap(memory, 4096);
    assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
    return fd;
}

static uint32_t buffers_now(dmabufd *d)
{
    struct dmabufd_status status;

    assert_int_equal(dmabufd_get_status(d, &status), 0);
    return status.buffers;
}

static void check_plenty(dmabufd *d)
{
    dmabufd_buffer *buffer;

    assert_int_equal(dmabufd_alloc(d, LONG_SIZE, 4096, &buffer), 0);
    assert_int_equal(dmabufd_free(buffer), 0);
    assert_int_equal(dmabufd_lookup(d, dmabufd_buffer_fd(bystander.buffer), &buffer), 0);
    assert_int_equal(dmabufd_free(buffer), 0);
}

static void keeper_without(void **state)
{
    dmabufd_buffer *held, *buffer = NULL;
    pid_t keeper = daemon_of_test.keeper;
    int own = own_memory();
    dmabufd *d;

    (void)state;
    assert_int_equal(dmabufd_connect(&d, NULL), 0);
    assert_int_equal(dmabufd_alloc(d, 4096, 4096, &held), 0);
    for (int i = 0; i < 3; i++) {
        leave_descriptors(keeper, 0);
        assert_says_so(dmabufd_alloc(d, 4096, 4096, &buffer));
        assert_says_so(dmabufd_lookup(d, dmabufd_buffer_fd(bystander.buffer), &buffer));
        assert_says_so(dmabufd_register(d, own, 0, 4096, NULL, &buffer));
        assert_null(buffer);
        bystander_check(&bystander);
        assert_int_equal(buffers_now(d), 2);
        give_plenty(keeper);
        check_plenty(d);
    }
    /* Freeing needs none. */
    leave_descriptors(keeper, 0);
    assert_int_equal(dmabufd_free(held), 0);
    give_plenty(keeper);
    dmabufd_disconnect(d);
    close(own);
    bystander_after(&bystander);
}

/* Enough for the memory, too few for its copy that is sent, or for the table. */
static void keeper_with_too_few(void **state)
{
    pid_t keeper = daemon_of_test.keeper;
    dmabufd_buffer *buffer = NULL;
    dmabufd *d;

    (void)state;
    assert_int_equal(dmabufd_connect(&d, NULL), 0);
    for (unsigned int count = 1; count < 4; count++) {
        leave_descriptors(keeper, count);
        assert_says_so(dmabufd_alloc(d, LONG_SIZE, 4096, &buffer));
        assert_int_equal(buffers_now(d), 1);
        bystander_check(&bystander);
    }
    leave_descriptors(keeper, 4);
    assert_int_equal(dmabufd_alloc(d, LONG_SIZE, 4096, &buffer), 0);
    assert_int_equal(dmabufd_free(buffer), 0);
    give_plenty(keeper);
    dmabufd_disconnect(d);
    bystander_after(&bystander);
}

static void broker_without(void **state)
{
    pid_t broker = bystander.broker;
    dmabufd_buffer *buffer = NULL;
    dmabufd *d;

    (void)state;
    if (!is_open(broker, 3)) {
        print_message("needs root to count the descriptors of the broker\n");
        skip();
    }
    assert_int_equal(dmabufd_connect(&d, NULL), 0);
    for (unsigned int i = 0; i < 4; i++) {
        unsigned int count = i % 2;

        leave_descriptors(broker, count);
        assert_says_so(dmabufd_alloc(d, LONG_SIZE, 4096, &buffer));
        if (count == 0) {
            assert_says_so(dmabufd_alloc(d, 4096, 4096, &buffer));
            assert_says_so(dmabufd_lookup(d, dmabufd_buffer_fd(bystander.buffer), &buffer));
        }
        assert_null(buffer);
        bystander_check(&bystander);
        assert_int_equal(buffers_now(d), 1);
        give_plenty(broker);
        check_plenty(d);
    }
    dmabufd_disconnect(d);
    bystander_after(&bystander);
}

/* Who connects meanwhile waits. */
static void broker_accepts_later(void **state)
{
    unsigned char bytes[PROTO_REQUEST_MAX];
    pid_t broker = bystander.broker;
    struct pollfd late = { .events = POLLIN };
    struct raw_reply reply;

    (void)state;
    if (!is_open(broker, 3)) {
        print_message("needs root to count the descriptors of the broker\n");
        skip();
    }
    leave_descriptors(broker, 0);
    late.fd = raw_connect();
    assert_int_equal(raw_send(late.fd, bytes, raw_hello(bytes, 1, 1, 1, "late"), -1, 0), 0);
    for (int i = 0; i < 20; i++)
        bystander_check(&bystander);
    assert_int_equal(poll(&late, 1, 0), 0);
    give_plenty(broker);
    assert_int_equal(raw_receive(late.fd, &reply), 1);
    assert_int_equal(reply.message->body_case, DMABUFD__PROTO__REPLY__BODY_HELLO);
    close(late.fd);
    assert_true(daemon_log_count(&daemon_of_test, "cannot accept connections for now") > 0);
    bystander_after(&bystander);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(keeper_without, start, stop),
        cmocka_unit_test_setup_teardown(keeper_with_too_few, start, stop),
        cmocka_unit_test_setup_teardown(broker_without, start, stop),
        cmocka_unit_test_setup_teardown(broker_accepts_later, start, stop),
    };

    return cmocka_run_group_tests_name("shortage", tests, NULL, NULL);
}
