/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * daemon/closer.h: descriptors whose close(2) waits for somebody, and large memory.
 *
 * A file that hangs for good takes a file system that does not answer, which a test cannot have
 * without privilege: a stand-in for close(2) hangs on the descriptors it is told of, signals or not, except on
 * the thread of the test.
 */
#include "tests/unit/cmocka-all.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/memfd.h"
#include "daemon/closer.h"
#include "daemon/keeper/buffer.h"
#include "proto/wire.h"
#include "tests/unit/support.h"

#define PATIENCE_MS 10000

enum { ALICE = 1001, BOB, CAROL, DAVE };

/* The number of a descriptor that hangs is marked here by the test. */
static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t opened = PTHREAD_COND_INITIALIZER;
static bool hangs[1024];
static bool is_open = true;
static pthread_t closed_by[1024], test_thread;

int __real_close(int fd);
int __wrap_close(int fd);

int __wrap_close(int fd)
{
    if (fd >= 0 && fd < 1024) {
        pthread_mutex_lock(&gate);
        closed_by[fd] = pthread_self();
        while (hangs[fd] && !is_open && !pthread_equal(test_thread, pthread_self()))
            pthread_cond_wait(&opened, &gate);
        hangs[fd] = false;
        pthread_mutex_unlock(&gate);
    }
    return __real_close(fd);
}

static void set_gate(bool open)
{
    pthread_mutex_lock(&gate);
    is_open = open;
    pthread_cond_broadcast(&opened);
    pthread_mutex_unlock(&gate);
}

static bool is_closed(int fd)
{
    return fcntl(fd, F_GETFD) < 0 && errno == EBADF;
}

static void wait_closed(int fd)
{
    uint64_t end = support_now_ms() + PATIENCE_MS;

    while (!is_closed(fd) && support_now_ms() < end)
        usleep(1000);
    assert_true(is_closed(fd));
}

static void wait_stuck(uint32_t owner, unsigned int count)
{
    uint64_t end = support_now_ms() + PATIENCE_MS;

    while (closer_stuck(owner) != count && support_now_ms() < end)
        usleep(1000);
    assert_int_equal(closer_stuck(owner), count);
}

static int hanging(int fd)
{
    assert_in_range(fd, 0, 1023);
    hangs[fd] = true;
    return fd;
}

static int some_file(void)
{
    return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static int some_socket(void)
{
    return socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
}

static int memory(off_t size)
{
    int fd;

    assert_int_equal(memfd_open("test", 0, &fd), 0);
    assert_int_equal(posix_fallocate(fd, 0, size), 0);
    return fd;
}

/* ---- lingering ---- */

/* Data that its peer does not read, and an hour to wait for that at the last close(2). */
static int lingering(int *ret_peer)
{
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_addr = { .s_addr = htonl(INADDR_LOOPBACK) } };
    struct linger linger = { .l_onoff = 1, .l_linger = 3600 };
    socklen_t length = sizeof(address);
    static char block[65536];
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), little = 4096;

    assert_int_equal(setsockopt(listener, SOL_SOCKET, SO_RCVBUF, &little, sizeof(little)), 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &little, sizeof(little)), 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)), 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &length), 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    *ret_peer = accept(listener, NULL, NULL);
    assert_true(*ret_peer >= 0);
    close(listener);
    while (send(fd, block, sizeof(block), MSG_DONTWAIT) > 0)
        ;
    return fd;
}

/* More than one user has threads for, and all in one queue: when one that came after them has been
 * taken, threads came back from some. */
#define LINGERING 40

static void check_interrupted(const int *peers)
{
    int last = some_socket();

    closer_close(last, ALICE);
    wait_closed(last);
    wait_stuck(ALICE, 0);
    for (int i = 0; i < LINGERING; i++)
        close(peers[i]);
}

static void lingering_itself(void **state)
{
    int peers[LINGERING];

    (void)state;
    for (int i = 0; i < LINGERING; i++)
        closer_close(lingering(&peers[i]), ALICE);
    check_interrupted(peers);
}

/* Unread in the socket that is closed. */
static void lingering_unread(void **state)
{
    int peers[LINGERING];

    (void)state;
    for (int i = 0; i < LINGERING; i++) {
        struct wire_fds fds = WIRE_FDS_NONE;
        int pair[2];

        assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
        assert_int_equal(wire_fds_put(&fds, lingering(&peers[i])), 0);
        assert_int_equal(wire_send(pair[1], "x", 1, &fds), 0);
        close(fds.fd[0]); /* not the last, that is in flight */
        close(pair[1]);
        closer_close(pair[0], ALICE);
    }
    check_interrupted(peers);
}

/* ---- hanging for good ---- */

static void files_of_one_hang(void **state)
{
    int many[70], other, sock;

    (void)state;
    set_gate(false);
    assert_false(closer_is_full(BOB));
    for (int i = 0; i < 70; i++) {
        many[i] = hanging(some_file());
        closer_close(many[i], BOB);
    }
    assert_true(closer_is_full(BOB));
    assert_false(closer_is_full(CAROL));
    other = some_file();
    closer_close(other, CAROL);
    wait_closed(other);
    sock = some_socket();
    closer_close(sock, BOB);
    wait_closed(sock);
    wait_stuck(BOB, 70);
    assert_int_equal(closer_stuck(CAROL), 0);
    for (int i = 0; i < 70; i++)
        assert_false(is_closed(many[i]));
    set_gate(true);
    for (int i = 0; i < 70; i++)
        wait_closed(many[i]);
    wait_stuck(BOB, 0);
    assert_false(closer_is_full(BOB));
}

/* As many users as it takes to hold all threads for files: sockets and memory go on. */
static void files_of_many_hang(void **state)
{
    int many[200], sock = some_socket(), large = memory(64 << 20);

    (void)state;
    set_gate(false);
    for (int i = 0; i < 200; i++) {
        many[i] = hanging(some_file());
        closer_close(many[i], (uint32_t)(2000 + i % 20));
    }
    closer_close(sock, DAVE);
    closer_close(large, DAVE);
    wait_closed(sock);
    wait_closed(large);
    set_gate(true);
    for (int i = 0; i < 200; i++)
        wait_closed(many[i]);
}

static void sockets_of_one_hang(void **state)
{
    int many[30], other = some_socket();

    (void)state;
    set_gate(false);
    for (int i = 0; i < 30; i++) {
        many[i] = hanging(some_socket());
        closer_close(many[i], BOB);
    }
    closer_close(other, CAROL);
    wait_closed(other);
    wait_stuck(BOB, 30);
    set_gate(true);
    for (int i = 0; i < 30; i++)
        wait_closed(many[i]);
}

/* ---- memory ---- */

static void little_memory_at_once(void **state)
{
    int fd = memory(1 << 20);

    (void)state;
    closer_close(fd, ALICE);
    assert_true(is_closed(fd));
    assert_true(pthread_equal(closed_by[fd], pthread_self()));
}

/* On another thread, and no more than one for all of a user's. */
static void large_memory(void **state)
{
    int many[20], other = memory(16 << 20);

    (void)state;
    set_gate(false);
    for (int i = 0; i < 20; i++) {
        many[i] = hanging(memory(16 << 20));
        closer_close(many[i], ALICE);
    }
    closer_close(other, BOB);
    wait_closed(other);
    assert_false(pthread_equal(closed_by[other], pthread_self()));
    assert_int_equal(closer_stuck(ALICE), 0);
    assert_false(closer_is_full(ALICE));
    set_gate(true);
    for (int i = 0; i < 20; i++)
        wait_closed(many[i]);
}

/* What is not there is quick to give back, whatever the size. */
static void holes(void **state)
{
    int fd;

    (void)state;
    assert_int_equal(memfd_open("test", 0, &fd), 0);
    assert_int_equal(ftruncate(fd, (off_t)1 << 40), 0);
    closer_close(fd, ALICE);
    assert_true(is_closed(fd));
}

/* The file can be larger than what was registered of it: no worker of the keeper closes it. */
static void registered_memory(void **state)
{
    struct buffer *buffer = buffer_new();
    int fd = memory(16 << 20);

    (void)state;
    assert_non_null(buffer);
    buffer->registered = true;
    buffer->size = 4096;
    buffer->fd = fd;
    assert_int_equal(buffer_teardown_step(buffer, NULL, NULL, NULL), 0);
    wait_closed(fd);
    assert_false(pthread_equal(closed_by[fd], pthread_self()));
    buffer_free(buffer);
}

/* ---- of a message ---- */

static void hook(void **state)
{
    struct wire_fds fds = WIRE_FDS_OF(BOB);
    int fd = hanging(some_file());

    (void)state;
    set_gate(false);
    assert_int_equal(wire_fds_put(&fds, fd), 0);
    wire_fds_close(&fds);
    wait_stuck(BOB, 1);
    assert_int_equal(closer_stuck(WIRE_NOBODY), 0);
    set_gate(true);
    wait_closed(fd);
}

static void none(void **state)
{
    (void)state;
    closer_close(-1, ALICE);
}

static int start(void **state)
{
    int fd = some_file();

    (void)state;
    test_thread = pthread_self();
    closer_close(fd, ALICE);
    assert_true(is_closed(fd)); /* at once, before the start */
    return closer_start();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lingering_itself),
        cmocka_unit_test(lingering_unread),
        cmocka_unit_test(files_of_one_hang),
        cmocka_unit_test(files_of_many_hang),
        cmocka_unit_test(sockets_of_one_hang),
        cmocka_unit_test(little_memory_at_once),
        cmocka_unit_test(large_memory),
        cmocka_unit_test(holes),
        cmocka_unit_test(registered_memory),
        cmocka_unit_test(hook),
        cmocka_unit_test(none),
    };

    return cmocka_run_group_tests_name("closer", tests, start, NULL);
}
