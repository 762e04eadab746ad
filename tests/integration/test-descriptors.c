/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Descriptors as weapons: too many, where none belong, forged, going in circles, and such that make
 * whoever closes them wait. And numbers of buffers, which are no permission.
 *
 * With the fake backend. Descriptors that run out are test-shortage.c's.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include "tests/integration/bystander.h"
#include "tests/integration/raw.h"

static struct daemon daemon_of_test;
static struct bystander bystander;

static int start_daemon(const char *option, unsigned int descriptors)
{
    const char *args[] = { "--fake=layout=run:64K", option, NULL };

    signal(SIGPIPE, SIG_IGN); /* an offender that gives up is a failure to report */
    daemon_of_test.descriptors = descriptors;
    daemon_start_with(&daemon_of_test, "fake", args);
    bystander_start(&bystander, &daemon_of_test);
    return 0;
}

static int start(void **state)
{
    (void)state;
    return start_daemon(NULL, 0);
}

static int start_with_few(void **state)
{
    (void)state;
    return start_daemon("--max-clients-per-user=21", 256);
}

static int stop(void **state)
{
    (void)state;
    bystander_stop(&bystander);
    daemon_stop(&daemon_of_test);
    return 0;
}

/* ---- the wrong number ---- */

static int send_wrong_numbers(void *data)
{
    static const size_t wrong_for_lookup[] = { 0, 2, 3, 4, 5, 6, 100, RAW_FDS_MAX };
    unsigned char bytes[PROTO_REQUEST_MAX];

    (void)data;
    for (size_t i = 0; i < sizeof(wrong_for_lookup) / sizeof(wrong_for_lookup[0]); i++)
        CHECK(offence_ends(&bystander, true, bytes, raw_lookup(bytes, 7), wrong_for_lookup[i]));
    for (size_t count = 1; count <= RAW_FDS_MAX; count += 63) {
        size_t size = raw_hello(bytes, 7, 1, 1, "x");

        CHECK(offence_ends(&bystander, false, bytes, size, count));
        CHECK(offence_ends(&bystander, true, bytes, raw_allocate(bytes, 7, 1, 0), count));
        CHECK(offence_ends(&bystander, true, bytes, raw_free(bytes, 7, 1), count));
        CHECK(offence_ends(&bystander, true, bytes, raw_list(bytes, 7, 0), count));
        CHECK(offence_ends(&bystander, true, bytes, raw_status(bytes, 7), count));
    }
    return 0;
}

static void wrong_numbers(void **state)
{
    (void)state;
    bystander_endures(&bystander, send_wrong_numbers, NULL);
}

/* ---- forged ---- */

static bool is_refused(int sock, uint64_t id, int fd)
{
    struct raw_reply reply;

    return fd >= 0 && raw_send_lookup(sock, id, fd) == 0 && raw_receive(sock, &reply) == 1 &&
           raw_is_error(&reply, id, DMABUFD_CODE_NOT_A_BUFFER, ENXIO);
}

/* Another open file on the same memory. */
static int reopened(int fd, int flags)
{
    char path[32];

    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    return open(path, flags | O_CLOEXEC);
}

/* The name and the size of a buffer do not make one. */
static int imitated(void)
{
    int fd = memfd_create("dmabufd", MFD_ALLOW_SEALING);

    if (fd >= 0 && (ftruncate(fd, 4096) < 0 || fchmod(fd, 0600) < 0 ||
                    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0))
        return -1;
    return fd;
}

static int look_up_forged(void *data)
{
    int sock = raw_greeted(), pipe_fds[2], fd;
    struct raw_reply reply;
    uint64_t id = 10;

    (void)data;
    CHECK(sock >= 0 && raw_send_allocate(sock, 2, 4096) == 0 && raw_receive(sock, &reply) == 1);
    fd = wire_fds_take(&reply.fds, 0);
    CHECK(fd >= 0 && pipe(pipe_fds) == 0);
    CHECK(is_refused(sock, ++id, imitated()));
    CHECK(is_refused(sock, ++id, reopened(fd, O_PATH)));
    CHECK(is_refused(sock, ++id, pipe_fds[0]));
    CHECK(is_refused(sock, ++id, pipe_fds[1]));
    CHECK(is_refused(sock, ++id, socket(AF_INET, SOCK_DGRAM, 0)));
    CHECK(is_refused(sock, ++id, sock));
    CHECK(is_refused(sock, ++id, epoll_create1(0)));
    CHECK(is_refused(sock, ++id, eventfd(0, 0)));
    CHECK(is_refused(sock, ++id, open("/proc/self/status", O_RDONLY)));
    CHECK(is_refused(sock, ++id, open("/", O_RDONLY | O_DIRECTORY)));
    CHECK(is_refused(sock, ++id, open("/dev/zero", O_RDWR)));
    /* A dup is the same open file, and good. */
    CHECK(raw_send_lookup(sock, 3, dup(fd)) == 0 && raw_receive(sock, &reply) == 1);
    CHECK(reply.message->body_case == DMABUFD__PROTO__REPLY__BODY_BUFFER);
    CHECK(reply.fds.count == 0);
    /* After the last free it is a buffer no more. */
    for (uint64_t i = 0; i < 2; i++) {
        CHECK(raw_send_free(sock, 4, reply.message->buffer->buffer) == 0);
        CHECK(raw_receive(sock, &(struct raw_reply){ 0 }) == 1);
    }
    CHECK(is_refused(sock, ++id, fd));
    CHECK(raw_works(sock, ++id));
    close(sock);
    return 0;
}

static void forged(void **state)
{
    (void)state;
    bystander_endures(&bystander, look_up_forged, NULL);
}

/* Numbers of buffers are no permission. */
static int guess_numbers(void *data)
{
    uint64_t id = dmabufd_buffer_id(bystander.buffer);
    unsigned char bytes[PROTO_REQUEST_MAX];
    struct raw_reply reply;
    int sock = raw_greeted();

    (void)data;
    CHECK(sock >= 0 && raw_send_free(sock, 2, id) == 0 && raw_receive(sock, &reply) == 1);
    CHECK(raw_is_error(&reply, 2, DMABUFD_CODE_NOT_HELD, ENOENT));
    CHECK(raw_send(sock, bytes, raw_list(bytes, 3, id), -1, 0) == 0);
    CHECK(raw_receive(sock, &reply) == 1);
    CHECK(reply.message->body_case == DMABUFD__PROTO__REPLY__BODY_LIST);
    CHECK(reply.message->list->n_buffers == 0 && reply.message->list->next == 0);
    for (uint64_t guess = 0; guess < 200; guess++) {
        CHECK(raw_send_free(sock, 10 + guess, guess) == 0 && raw_receive(sock, &reply) == 1);
        CHECK(raw_is_error(&reply, 10 + guess, DMABUFD_CODE_NOT_HELD, ENOENT));
    }
    close(sock);
    return 0;
}

static void guessed_numbers(void **state)
{
    (void)state;
    bystander_endures(&bystander, guess_numbers, NULL);
}

/* ---- in circles ---- */

/* Sockets inside sockets, the daemon's peers among them: only the kernel's collector finds them. */
static int pass_circles(void *data)
{
    unsigned char bytes[PROTO_REQUEST_MAX];

    (void)data;
    for (int i = 0; i < 50; i++) {
        int pair[2], first = raw_greeted(), second = raw_greeted();

        CHECK(first >= 0 && second >= 0);
        CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
        CHECK(raw_send(pair[0], "x", 1, pair[1], 1) == 0);
        CHECK(raw_send(pair[1], "x", 1, pair[0], 1) == 0);
        CHECK(raw_send(pair[0], "x", 1, first, 1) == 0);
        CHECK(is_refused(first, 2, pair[0]));
        CHECK(is_refused(first, 3, first));
        CHECK(is_refused(first, 4, second));
        CHECK(is_refused(second, 2, first));
        /* The last words of each are about the other, and nobody waits for an answer. */
        CHECK(raw_send(first, bytes, raw_lookup(bytes, 5), second, 1) == 0);
        CHECK(raw_send(second, bytes, raw_lookup(bytes, 5), first, 1) == 0);
        close(pair[0]);
        close(pair[1]);
        close(first);
        close(second);
    }
    return 0;
}

static void circles(void **state)
{
    (void)state;
    bystander_endures(&bystander, pass_circles, NULL);
}

/* ---- as many as can be sent ---- */

static int flood_with_lookups(void *data)
{
    int sock = raw_greeted(), fd = memfd_create("flood", 0);
    uint64_t sent = 0, received = 0;
    struct raw_reply reply;

    (void)data;
    CHECK(sock >= 0 && fd >= 0);
    while (received < 5000) {
        while (sent < 5000 && sent - received < 200) {
            CHECK(raw_send_lookup(sock, 2 + sent, fd) == 0);
            sent++;
        }
        CHECK(raw_receive(sock, &reply) == 1);
        CHECK(raw_is_error(&reply, reply.message->id, DMABUFD_CODE_NOT_A_BUFFER, ENXIO));
        received++;
    }
    close(sock);
    return 0;
}

static void flood_of_lookups(void **state)
{
    (void)state;
    bystander_endures(&bystander, flood_with_lookups, NULL);
}

/* ---- that make whoever closes them wait ---- */

#define TRAPS_MAX 400U

enum moment { WHERE_NONE_BELONGS, IN_LOOKUP, UNREAD_AT_THE_END };

struct trap {
    enum moment moment;
    unsigned int count; /* connections, with one each */
    int stream;         /* to the test */
};

/*
 * A TCP socket with data that its peer does not read and with SO_LINGER: the last close(2) of it
 * waits for an hour, unless the peer ends.
 */
static int lingering(int *ret_peer)
{
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_addr = { .s_addr = htonl(INADDR_LOOPBACK) } };
    struct linger linger = { .l_onoff = 1, .l_linger = 3600 };
    socklen_t length = sizeof(address);
    static char block[65536];
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    int fd = socket(AF_INET, SOCK_STREAM, 0), little = 4096;

    if (setsockopt(listener, SOL_SOCKET, SO_RCVBUF, &little, sizeof(little)) < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &little, sizeof(little)) < 0 ||
        bind(listener, (struct sockaddr *)&address, sizeof(address)) < 0 ||
        listen(listener, 1) < 0 ||
        getsockname(listener, (struct sockaddr *)&address, &length) < 0 ||
        connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)) < 0)
        return -1;
    *ret_peer = accept(listener, NULL, NULL);
    close(listener);
    while (send(fd, block, sizeof(block), MSG_DONTWAIT) > 0)
        ;
    return fd;
}

static void be_impatient(int sock)
{
    struct timeval patience = { .tv_sec = 5 };

    setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
}

/* Until the answer to the request with that id, or the end. */
static int receive_until(int sock, uint64_t id, struct raw_reply *reply)
{
    int r;

    do {
        r = raw_receive(sock, reply);
        wire_fds_close(&reply->fds);
    } while (r == 1 && reply->message->id != id);
    return r;
}

/*
 * On a connection of its own. The daemon does not read on while some replies with descriptors are
 * unread: time to close our copy, so that the daemon's is the last.
 */
static int lay_one(enum moment moment, int *ret_peer)
{
    unsigned char bytes[PROTO_REQUEST_MAX];
    struct raw_reply reply;
    int sock = raw_greeted(), fd = lingering(ret_peer);
    size_t size = moment == WHERE_NONE_BELONGS ? raw_status(bytes, 99) : raw_lookup(bytes, 99);

    CHECK(sock >= 0 && fd >= 0);
    be_impatient(sock);
    for (uint64_t id = 100; id < 110; id++)
        CHECK(raw_send_allocate(sock, id, 4096) == 0);
    CHECK(raw_send(sock, bytes, size, fd, 1) == 0);
    close(fd);
    if (moment == WHERE_NONE_BELONGS)
        CHECK(receive_until(sock, 99, &reply) == 0);
    if (moment == IN_LOOKUP) {
        CHECK(receive_until(sock, 99, &reply) == 1);
        CHECK(raw_is_error(&reply, 99, DMABUFD_CODE_NOT_A_BUFFER, ENXIO));
    }
    close(sock);
    return 0;
}

static int lay_traps(void *data)
{
    struct trap *trap = data;
    int peers[TRAPS_MAX];
    char go;

    CHECK(trap->count <= TRAPS_MAX);
    for (unsigned int i = 0; i < trap->count; i++)
        CHECK(lay_one(trap->moment, &peers[i]) == 0);
    CHECK(write_all(trap->stream, "t", 1) && read_all(trap->stream, &go, 1));
    return 0;
}

/* What cannot be understood is the end of it. */
static bool ends_as_it_should(void)
{
    unsigned char bytes[PROTO_REQUEST_MAX];
    int sock = raw_connect();
    bool ended;

    be_impatient(sock);
    ended = raw_send(sock, bytes, raw_status(bytes, 1), -1, 0) == 0 && raw_ended(sock);
    close(sock);
    return ended;
}

/* New clients are served, and nobody but the bystander and the one that asks is there any more. */
static bool serves_and_is_rid_of_it(void)
{
    for (int i = 0; i < 500; i++) {
        int sock = raw_connect();
        unsigned char bytes[PROTO_REQUEST_MAX];
        struct raw_reply reply;
        bool served;

        be_impatient(sock);
        served = raw_send(sock, bytes, raw_hello(bytes, 1, 1, 1, "probe"), -1, 0) == 0 &&
                 raw_receive(sock, &reply) == 1 && raw_send_status(sock, 2) == 0 &&
                 raw_receive(sock, &reply) == 1;
        close(sock);
        if (!served)
            return false;
        if (reply.message->status->clients == 2 && reply.message->status->buffers == 1)
            return ends_as_it_should();
        usleep(10000);
    }
    return false;
}

static void check_traps(enum moment moment, unsigned int count)
{
    struct trap trap = { .moment = moment, .count = count };
    int pair[2], status;
    bool served;
    pid_t pid;
    char sprung;

    bystander_before(&bystander);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    trap.stream = pair[1];
    pid = spawn_as(TEST_CLIENT_UID, lay_traps, &trap);
    close(pair[1]);
    served = read_all(pair[0], &sprung, 1) && serves_and_is_rid_of_it();
    /* Only now: what waits in the daemon goes on when the offender is gone. */
    (void)write_all(pair[0], "g", 1);
    close(pair[0]);
    status = join(pid);
    assert_true(served);
    assert_int_equal(status, 0);
    bystander_after(&bystander);
    bystander_check_alloc(&bystander);
}

static void lingering_where_none_belongs(void **state)
{
    (void)state;
    check_traps(WHERE_NONE_BELONGS, 3);
}

static void lingering_in_lookup(void **state)
{
    (void)state;
    check_traps(IN_LOOKUP, 3);
}

static void lingering_unread_at_the_end(void **state)
{
    (void)state;
    check_traps(UNREAD_AT_THE_END, 3);
}

/* More than the daemon can have threads that wait, and more than it can have descriptors. */
static void lingering_by_the_hundred(void **state)
{
    (void)state;
    check_traps(UNREAD_AT_THE_END, TRAPS_MAX);
}

#define TEST(function, setup) cmocka_unit_test_setup_teardown(function, setup, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(wrong_numbers, start),
        TEST(forged, start),
        TEST(guessed_numbers, start),
        TEST(circles, start),
        TEST(flood_of_lookups, start),
        TEST(lingering_where_none_belongs, start),
        TEST(lingering_in_lookup, start),
        TEST(lingering_unread_at_the_end, start),
        TEST(lingering_by_the_hundred, start_with_few),
    };

    return cmocka_run_group_tests_name("descriptors", tests, NULL, NULL);
}
