/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where the daemon listens, who gets in, and how it ends: stale and live sockets, files that are
 * none, mode and group, a socket passed by systemd, signals with buffers held.
 *
 * With the fake backend. The command line is test-options.c's.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/integration/harness.h"
#include "tests/integration/raw.h"

static struct daemon first, second;
static char directory[64];
static char path[96];

static int set_up(void **state)
{
    (void)state;
    snprintf(directory, sizeof(directory), "/tmp/dmabufd-test-XXXXXX");
    assert_non_null(mkdtemp(directory));
    assert_int_equal(chmod(directory, 0755), 0);
    snprintf(path, sizeof(path), "%s/its-own", directory);
    return 0;
}

static int clean_up(void **state)
{
    (void)state;
    if (first.keeper > 0)
        daemon_kill(&first);
    if (second.keeper > 0)
        daemon_kill(&second);
    unlink(path);
    return rmdir(directory);
}

/* A daemon that listens on path. Return: as daemon_try(). */
static int try_on_path(struct daemon *daemon, const char *option, const char *value)
{
    const char *args[] = { "--socket", path, option, value, NULL };

    return daemon_try(daemon, "fake", args);
}

static void assert_serves(void)
{
    dmabufd_buffer *buffer;
    dmabufd *d;

    assert_int_equal(dmabufd_connect(&d, path), 0);
    assert_int_equal(dmabufd_alloc(d, 4096, 4096, &buffer), 0);
    assert_int_equal(dmabufd_free(buffer), 0);
    dmabufd_disconnect(d);
}

static bool exists(void)
{
    struct stat st;

    return lstat(path, &st) == 0;
}

/* What a daemon that refused to start wrote. */
static void assert_refused(struct daemon *daemon, int status, const char *names)
{
    assert_int_equal(status, 1);
    assert_int_equal(daemon_log_count(daemon, names), 1);
    daemon_kill(daemon);
}

/* ---- what is already there ---- */

static void stale_socket_is_replaced(void **state)
{
    (void)state;
    assert_int_equal(try_on_path(&first, NULL, NULL), -1);
    assert_serves();
    daemon_kill(&first);
    assert_true(exists());
    assert_int_equal(try_on_path(&second, NULL, NULL), -1);
    assert_serves();
    daemon_stop(&second);
    assert_false(exists());
}

static void live_socket_is_not(void **state)
{
    (void)state;
    assert_int_equal(try_on_path(&first, NULL, NULL), -1);
    assert_refused(&second, try_on_path(&second, NULL, NULL), "another daemon serves");
    assert_true(exists());
    assert_serves();
    daemon_stop(&first);
    assert_false(exists());
}

static int listening(int type, bool listens)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

    strcpy(address.sun_path, path);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listens ? listen(fd, 5) : 0, 0);
    return fd;
}

static void other_programs_socket_is_not(void **state)
{
    int fd = listening(SOCK_STREAM, true);
    struct stat before, after;

    (void)state;
    assert_int_equal(lstat(path, &before), 0);
    assert_refused(&first, try_on_path(&first, NULL, NULL), "Address already in use");
    assert_int_equal(lstat(path, &after), 0);
    assert_int_equal(after.st_ino, before.st_ino);
    close(fd);
}

static void file_is_not(void **state)
{
    char text[16] = "";
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

    (void)state;
    assert_int_equal(write(fd, "precious", 8), 8);
    close(fd);
    assert_refused(&first, try_on_path(&first, NULL, NULL), "Address already in use");
    fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_int_equal(read(fd, text, sizeof(text)), 8);
    assert_string_equal(text, "precious");
    close(fd);
    unlink(path);
    /* Nor a link to nowhere. */
    assert_int_equal(symlink("/nowhere", path), 0);
    assert_refused(&first, try_on_path(&first, NULL, NULL), "Address already in use");
    assert_true(exists());
    unlink(path);
    assert_int_equal(mkdir(path, 0755), 0);
    assert_refused(&first, try_on_path(&first, NULL, NULL), "Address already in use");
    assert_int_equal(rmdir(path), 0);
}

/* ---- who gets in ---- */

static void assert_mode(mode_t mode)
{
    struct stat st;

    assert_int_equal(lstat(path, &st), 0);
    assert_true(S_ISSOCK(st.st_mode));
    assert_int_equal(st.st_mode & 07777, mode);
}

static int gets_in(void *data)
{
    dmabufd *d;
    int r = dmabufd_connect(&d, path);

    CHECK(r == -*(int *)data);
    if (r == 0)
        dmabufd_disconnect(d);
    return 0;
}

static void check_who(const char *option, const char *value, mode_t mode, int client, int other)
{
    mode_t old = umask(027); /* whatever it is, it is not the daemon's business */

    assert_int_equal(try_on_path(&first, option, value), -1);
    umask(old);
    assert_mode(mode);
    assert_serves();
    if (getuid() == 0) {
        run_as(TEST_CLIENT_UID, gets_in, &client);
        run_as(TEST_OTHER_UID, gets_in, &other);
    }
    daemon_stop(&first);
}

static void mode_and_group(void **state)
{
    char group[32];

    (void)state;
    check_who("--socket-mode", "0600", 0600, EACCES, EACCES);
    check_who("--socket-mode", "660", 0660, EACCES, EACCES);
    check_who("--socket-mode", "0666", 0666, 0, 0);
    snprintf(group, sizeof(group), "%u", getuid() == 0 ? TEST_CLIENT_UID : getgid());
    assert_int_equal(try_on_path(&first, "--socket-group", group), -1);
    {
        struct stat st;

        assert_int_equal(lstat(path, &st), 0);
        assert_int_equal(st.st_gid, atoi(group));
    }
    daemon_stop(&first);
}

/* Members of the group and nobody else. */
static void group_only(void **state)
{
    int yes = 0, no = EACCES;
    char group[32];
    const char *args[] = { "--socket", path, "-m", "0660", "-g", group, NULL };

    (void)state;
    if (getuid() != 0) {
        print_message("needs root\n");
        skip();
    }
    snprintf(group, sizeof(group), "%u", TEST_CLIENT_UID);
    assert_int_equal(daemon_try(&first, "fake", args), -1);
    run_as(TEST_CLIENT_UID, gets_in, &yes);
    run_as(TEST_OTHER_UID, gets_in, &no);
    daemon_stop(&first);
}

/* ---- a socket that somebody else made ---- */

struct activation {
    int fds[2];
    const char *count;
    bool for_us;
};

/* Becomes a daemon with these descriptors from 3 on. */
static int activate(void *data)
{
    const struct activation *activation = data;
    const char *build = getenv("DMABUFD_BUILD_DIR");
    char program[512], pid[32];
    int log = open(first.log, O_WRONLY | O_CREAT | O_APPEND, 0644);

    snprintf(program, sizeof(program), "%s/dmabufd", build ? build : ".");
    snprintf(pid, sizeof(pid), "%d", (int)getpid() + !activation->for_us);
    setenv("LISTEN_FDS", activation->count, 1);
    setenv("LISTEN_PID", pid, 1);
    dup2(log, STDERR_FILENO);
    /* Both beyond the places where they belong, then there. */
    for (int i = 0; i < 2; i++) {
        int high = fcntl(activation->fds[i], F_DUPFD, 100);

        dup2(high, 3 + i);
        close(high);
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    execl(program, "dmabufd", "--backend", "fake", "--user", "61901", "--socket", "/nowhere/at/all",
          NULL);
    return 127;
}

/* Starts one; its log is first's. */
static pid_t start_activated(int fd, const char *count, bool for_us)
{
    struct activation activation = { { fd, fd }, count, for_us };

    snprintf(first.log, sizeof(first.log), "%s/log", directory);
    return spawn_as(getuid(), activate, &activation);
}

static void check_activation_refused(int fd, const char *count, bool for_us, const char *names)
{
    assert_int_equal(join(start_activated(fd, count, for_us)), 1);
    assert_int_equal(daemon_log_count(&first, names), 1);
    unlink(first.log);
}

static void passed_socket(void **state)
{
    int fd = listening(SOCK_SEQPACKET, true);
    pid_t pid;

    (void)state;
    assert_int_equal(chmod(path, 0666), 0);
    pid = start_activated(fd, "1", true);
    close(fd);
    assert_serves();
    assert_int_equal(kill(pid, SIGTERM), 0);
    assert_int_equal(join(pid), 0);
    /* Whoever made it removes it. */
    assert_true(exists());
    assert_int_equal(daemon_log_count(&first, "the socket it was passed"), 1);
    unlink(first.log);
}

static void wrong_sockets_passed(void **state)
{
    int fd = listening(SOCK_STREAM, true);

    (void)state;
    check_activation_refused(fd, "1", true, "ListenSequentialPacket=");
    close(fd);
    unlink(path);
    fd = listening(SOCK_DGRAM, false);
    check_activation_refused(fd, "1", true, "ListenSequentialPacket=");
    close(fd);
    unlink(path);
    fd = listening(SOCK_SEQPACKET, false);
    check_activation_refused(fd, "1", true, "ListenSequentialPacket=");
    close(fd);
    unlink(path);
    fd = listening(SOCK_SEQPACKET, true);
    check_activation_refused(fd, "2", true, "2 sockets were passed, one is expected");
    /* For another process: then there is none for this one. */
    check_activation_refused(fd, "1", false, "cannot make the socket /nowhere/at/all");
    close(fd);
    fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    check_activation_refused(fd, "1", true, "ListenSequentialPacket=");
    close(fd);
}

/* ---- the end ---- */

static bool is_logged(void *data)
{
    return daemon_log_count(&first, data) > 0;
}

static void check_signals(int one, int two)
{
    dmabufd_buffer *buffers[10];
    struct dmabufd_status status;
    char ended[] = "keeper: info: ended";
    dmabufd *d;

    assert_int_equal(try_on_path(&first, NULL, NULL), -1);
    assert_int_equal(dmabufd_connect(&d, path), 0);
    for (int i = 0; i < 10; i++)
        assert_int_equal(dmabufd_alloc(d, UINT64_C(1) << 20, 4096, &buffers[i]), 0);
    kill(first.keeper, one);
    kill(first.keeper, two);
    wait_until(is_logged, ended);
    assert_int_equal(join(first.keeper), 0);
    first.keeper = 0;
    assert_int_equal(daemon_log_count(&first, "stopping: 10 buffers are released"), 1);
    assert_int_equal(dmabufd_get_status(d, &status), -ENOTCONN);
    dmabufd_disconnect(d);
    assert_false(exists());
    assert_int_equal(dmabufd_connect(&d, path), -ENOENT);
    daemon_kill(&first);
}

static void signals_with_buffers_held(void **state)
{
    (void)state;
    check_signals(SIGTERM, 0);
    check_signals(SIGINT, 0);
    check_signals(SIGTERM, SIGINT);
    check_signals(SIGINT, SIGINT);
}

/* Without standard streams their numbers must not become those of sockets: what is logged would be
 * sent to somebody. */
static int without_streams(void *data)
{
    const char *build = getenv("DMABUFD_BUILD_DIR");
    char program[512];

    (void)data;
    snprintf(program, sizeof(program), "%s/dmabufd", build ? build : ".");
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (int fd = 0; fd < 20; fd++)
        close(fd);
    execl(program, "dmabufd", "--backend", "fake", "--user", "61901", "--socket", path,
          "--socket-mode", "0666", NULL);
    return 127;
}

static bool listens(void *data)
{
    dmabufd *d;

    (void)data;
    if (dmabufd_connect(&d, path) < 0)
        return false;
    dmabufd_disconnect(d);
    return true;
}

static void no_standard_streams(void **state)
{
    pid_t pid = spawn_as(getuid(), without_streams, NULL);

    (void)state;
    wait_until(listens, NULL);
    assert_serves();
    for (int fd = 0; fd < 3; fd++) {
        char link[64], target[64] = "";

        snprintf(link, sizeof(link), "/proc/%d/fd/%d", (int)pid, fd);
        assert_true(readlink(link, target, sizeof(target) - 1) > 0);
        assert_string_equal(target, "/dev/null");
    }
    assert_int_equal(kill(pid, SIGTERM), 0);
    assert_int_equal(join(pid), 0);
    assert_false(exists());
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, clean_up)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(stale_socket_is_replaced),
        TEST(live_socket_is_not),
        TEST(other_programs_socket_is_not),
        TEST(file_is_not),
        TEST(mode_and_group),
        TEST(group_only),
        TEST(passed_socket),
        TEST(wrong_sockets_passed),
        TEST(signals_with_buffers_held),
        TEST(no_standard_streams),
    };

    return cmocka_run_group_tests_name("startup", tests, NULL, NULL);
}
