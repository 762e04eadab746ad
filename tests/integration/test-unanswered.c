/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Unanswered: files whose close(2) nothing ends, sent to the daemon. Their server, a file system in
 * user space, answers everything but that. Who sends them is refused in the end; others are served.
 * A broker with such files cannot even be killed, and yet the next one serves and the daemon ends.
 *
 * With the fake backend, by root: it takes a mount, in a name space of the test's own.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/closer.h"
#include "tests/integration/bystander.h"
#include "tests/integration/raw.h"

static struct daemon daemon_of_test;
static struct bystander bystander;
static char mountpoint[32];
static pid_t server, offender;
static int unanswered = -1; /* a file of it, the offender's */

/* ---- the file system: one file, its root ---- */

static void answer(int device, uint64_t unique, const void *body, size_t size)
{
    struct fuse_out_header header = { .len = (uint32_t)(sizeof(header) + size), .unique = unique };
    struct iovec iov[] = { { &header, sizeof(header) }, { (void *)body, size } };

    if (writev(device, iov, 2) < 0)
        perror("# writev to /dev/fuse");
}

static void serve_one(int device, const struct fuse_in_header *request)
{
    const struct fuse_init_out init = { .major = FUSE_KERNEL_VERSION,
                                        .minor = FUSE_KERNEL_MINOR_VERSION,
                                        .max_write = 4096 };
    const struct fuse_attr_out attributes = {
        .attr = { .ino = FUSE_ROOT_ID, .mode = S_IFREG | 0666, .nlink = 1 }
    };
    const struct fuse_open_out open = { .fh = 1 };

    switch (request->opcode) {
    case FUSE_INIT:
        answer(device, request->unique, &init, sizeof(init));
        break;
    case FUSE_GETATTR:
        answer(device, request->unique, &attributes, sizeof(attributes));
        break;
    case FUSE_OPEN:
        answer(device, request->unique, &open, sizeof(open));
        break;
    case FUSE_RELEASE:
        answer(device, request->unique, NULL, 0);
        break;
    default: /* FUSE_FLUSH above all */
        break;
    }
}

static void serve(int device)
{
    static union {
        struct fuse_in_header header;
        char bytes[1 << 16];
    } request;

    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    while (read(device, &request, sizeof(request)) > 0 || errno == EINTR || errno == ENOENT)
        serve_one(device, &request.header);
}

/* Return: whether there is one now. */
static bool start_server(void)
{
    char options[64];
    int device, file;

    if (getuid() != 0 || unshare(CLONE_NEWNS) < 0 ||
        mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        return false;
    device = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    strcpy(mountpoint, "/tmp/dmabufd-test-XXXXXX");
    file = mkstemp(mountpoint);
    assert_true(file >= 0);
    close(file);
    if (device < 0)
        return false;
    snprintf(options, sizeof(options), "fd=%d,rootmode=100000,user_id=0,group_id=0,allow_other",
             device);
    if (mount("test", mountpoint, "fuse", MS_NOSUID | MS_NODEV, options) < 0) {
        close(device);
        return false;
    }
    server = fork();
    if (server == 0) {
        serve(device);
        _exit(0);
    }
    close(device);
    return true;
}

/* Its end is the answer to all that waits. */
static void stop_server(void)
{
    if (server > 0) {
        kill(server, SIGKILL);
        join(server);
    }
    server = 0;
    if (offender > 0)
        join(offender);
    offender = 0;
    umount2(mountpoint, MNT_DETACH);
    unlink(mountpoint);
}

static int start(void **state)
{
    static const char *const args[] = { "--max-clients-per-user=21", "--hang-timeout=1", NULL };

    (void)state;
    signal(SIGPIPE, SIG_IGN);
    if (!start_server())
        return 0;
    daemon_start_with(&daemon_of_test, "fake", args);
    bystander_start(&bystander, &daemon_of_test);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    stop_server();
    if (daemon_of_test.keeper <= 0)
        return 0;
    bystander_stop(&bystander);
    daemon_stop(&daemon_of_test);
    return 0;
}

/* ---- the offender ---- */

/* As many as a message can have, and end the connection: the daemon has them all by then. */
static int send_many(void)
{
    unsigned char bytes[PROTO_REQUEST_MAX];
    int sock = raw_connect();

    CHECK(sock >= 0);
    CHECK(raw_send(sock, bytes, raw_status(bytes, 1), unanswered, RAW_FDS_MAX) == 0);
    CHECK(raw_ended(sock));
    close(sock);
    return 0;
}

/* In look-ups, one each, for as long as the connection lives. */
static int send_one_by_one(unsigned int most, unsigned int *ret_sent)
{
    struct raw_reply reply;
    int sock = raw_greeted(), r = 1;

    CHECK(sock >= 0);
    for (*ret_sent = 0; r == 1 && *ret_sent < most; ++*ret_sent) {
        if (raw_send_lookup(sock, *ret_sent + 2, unanswered) < 0)
            break;
        r = raw_receive(sock, &reply);
        CHECK(r <= 0 || raw_is_error(&reply, *ret_sent + 2, DMABUFD_CODE_NOT_A_BUFFER, ENXIO));
    }
    close(sock);
    return 0;
}

static int send_until_ended(void)
{
    unsigned int sent;

    CHECK(send_one_by_one(1000, &sent) == 0);
    CHECK(sent > CLOSER_FILES_MAX && sent < CLOSER_FILES_MAX + 10);
    for (int i = 0; i < 100; i++)
        CHECK(send_many() == 0);
    return 0;
}

/* What hangs counts as connections after a while. */
static int send_until_refused(void)
{
    unsigned char bytes[PROTO_REQUEST_MAX];
    struct raw_reply reply;
    unsigned int sent;

    CHECK(send_one_by_one(30, &sent) == 0);
    CHECK(sent == 30);
    for (int i = 0; i < 1000; i++) {
        int sock = raw_connect();

        CHECK(raw_send(sock, bytes, raw_hello(bytes, 1, 1, 1, "again"), -1, 0) == 0);
        CHECK(raw_receive(sock, &reply) == 1);
        close(sock);
        if (raw_is_error(&reply, 1, DMABUFD_CODE_LIMIT, EUSERS))
            return strstr(reply.message->error->text, "do not close") ? 0 : 1;
        usleep(10000);
    }
    return 1;
}

/* All in the first message. */
static int send_at_once(void)
{
    return send_many() == 0 && send_many() == 0 ? 0 : 1;
}

struct offence {
    int (*commit)(void);
    int done; /* a stream to the test */
};

/* Whoever has such a file cannot exit either: the test hears from it before. */
static int offend(void *data)
{
    const struct offence *offence = data;
    char result;

    unanswered = open(mountpoint, O_RDWR | O_CLOEXEC);
    CHECK(unanswered >= 0);
    result = offence->commit() == 0 ? 'y' : 'n';
    CHECK(write_all(offence->done, &result, 1));
    return 0;
}

static int be_served(void *data)
{
    int sock = raw_greeted();

    (void)data;
    CHECK(sock >= 0 && raw_works(sock, 2));
    close(sock);
    return 0;
}

static void start_offender(int (*commit)(void))
{
    struct offence offence = { .commit = commit };
    char result = 'n';
    int ends[2];

    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    offence.done = ends[1];
    offender = spawn_as(TEST_CLIENT_UID, offend, &offence);
    close(ends[1]);
    assert_true(read_all(ends[0], &result, 1));
    close(ends[0]);
    assert_int_equal(result, 'y');
}

static void check(int (*commit)(void), unsigned int most)
{
    unsigned int before;

    if (!server)
        skip();
    bystander_before(&bystander);
    before = bystander.broker_fds;
    start_offender(commit);
    assert_in_range(count_fds(bystander.broker), before, before + most);
    run_as(TEST_OTHER_UID, be_served, NULL);
    bystander_check(&bystander);
    bystander_check_alloc(&bystander);
    stop_server();
    bystander_after(&bystander);
    run_as(TEST_CLIENT_UID, be_served, NULL);
}

/* What one user can have there, and little more. */
static void one_by_one(void **state)
{
    (void)state;
    check(send_until_ended, CLOSER_FILES_MAX + 10);
}

static void some(void **state)
{
    (void)state;
    check(send_until_refused, 30);
}

/* Nobody knew before it was read. */
static void many_in_a_message(void **state)
{
    (void)state;
    check(send_at_once, RAW_FDS_MAX + 10);
}

/* ---- a broker that cannot end ---- */

/* Its main thread has ended, others have not, and nobody can wait for it. */
static bool is_half_dead(void *data)
{
    pid_t pid = *(pid_t *)data;
    char path[64], state = '\0';
    FILE *file;

    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    file = fopen(path, "re");
    if (file && fscanf(file, "%*d (%*[^)]) %c", &state) != 1)
        state = '\0';
    if (file)
        fclose(file);
    return state == 'Z' && kill(pid, 0) == 0;
}

static bool is_reaped(void *data)
{
    (void)data;
    return daemon_log_count(&daemon_of_test, "that was left behind has ended") == 1;
}

static void check_killed(int signal)
{
    pid_t broker = bystander.broker;

    if (!server)
        skip();
    start_offender(send_at_once);
    assert_int_equal(kill(broker, signal), 0);
    wait_until(is_half_dead, &broker);
    daemon_next_broker(&daemon_of_test, broker);
    run_as(TEST_OTHER_UID, be_served, NULL);
    daemon_check_serves(&daemon_of_test);
    assert_int_equal(daemon_log_count(&daemon_of_test, "leaving it behind"), 1);
    assert_true(is_half_dead(&broker));
    stop_server();
    wait_until(is_reaped, NULL);
    assert_int_equal(kill(broker, 0), -1);
    daemon_check_serves(&daemon_of_test);
    assert_int_equal(daemon_log_count(&daemon_of_test, "leaving it behind"), 1);
}

static void broker_killed(void **state)
{
    (void)state;
    check_killed(SIGKILL);
}

static void broker_crashed(void **state)
{
    (void)state;
    check_killed(SIGSEGV);
}

/* The bystander's buffer goes although its connection does not end. */
static void memory_of_the_killed_is_released(void **state)
{
    struct dmabufd_status status;
    dmabufd *d;

    (void)state;
    if (!server)
        skip();
    start_offender(send_at_once);
    assert_int_equal(kill(bystander.broker, SIGKILL), 0);
    daemon_next_broker(&daemon_of_test, bystander.broker);
    assert_int_equal(dmabufd_connect(&d, daemon_of_test.socket), 0);
    do {
        assert_int_equal(dmabufd_get_status(d, &status), 0);
    } while (status.jobs > 0);
    assert_int_equal(status.clients, 1);
    assert_int_equal(status.buffers, 0);
    assert_int_equal(status.broker_starts, 2);
    dmabufd_disconnect(d);
    stop_server();
}

static bool keeper_has_ended(void *data)
{
    siginfo_t info = { 0 };

    (void)data;
    assert_int_equal(waitid(P_PID, (id_t)daemon_of_test.keeper, &info, WEXITED | WNOHANG | WNOWAIT),
                     0);
    return info.si_pid != 0;
}

/* And those who have nothing to do with it see the end of their connections. */
static void daemon_ends(void **state)
{
    pid_t broker = bystander.broker;
    int sock;

    (void)state;
    if (!server)
        skip();
    sock = raw_greeted();
    assert_true(sock >= 0);
    start_offender(send_at_once);
    assert_int_equal(kill(daemon_of_test.keeper, SIGTERM), 0);
    wait_until(keeper_has_ended, NULL);
    assert_true(is_half_dead(&broker));
    assert_int_equal(daemon_log_count(&daemon_of_test, "leaving it behind"), 1);
    assert_true(raw_ended(sock));
    close(sock);
    bystander_stop(&bystander);
    daemon_stop(&daemon_of_test);
    stop_server();
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, start, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(one_by_one),    TEST(some),           TEST(many_in_a_message),
        TEST(broker_killed), TEST(broker_crashed), TEST(memory_of_the_killed_is_released),
        TEST(daemon_ends),
    };

    return cmocka_run_group_tests_name("unanswered", tests, NULL, NULL);
}
