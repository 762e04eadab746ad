/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Locked files: clients that hold the lock of a memory file for as long as they like, while the daemon
 * empties it or looks into it. They hurt nobody but themselves, and do not keep the daemon from
 * ending.
 *
 * Needs /dev/userfaultfd, as root.
 */
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/integration/bystander.h"
#include "tests/integration/locked.h"
#include "tests/integration/raw.h"

#define KIB UINT64_C(1024)

static struct daemon daemon_of_test;

static int start(void **state)
{
    (void)state;
    daemon_start(&daemon_of_test, NULL);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    daemon_stop(&daemon_of_test);
    return 0;
}

struct locker {
    int sock;
    bool registers; /* memory of its own, else it leaves one of ours behind */
};

static int lock_and_leave(void)
{
    dmabufd_buffer *buffer;
    dmabufd *d;
    int fd;

    CHECK(dmabufd_connect(&d, NULL) == 0);
    CHECK(dmabufd_alloc(d, 4 * KIB, 4 * KIB, &buffer) == 0);
    fd = fcntl(dmabufd_buffer_fd(buffer), F_DUPFD_CLOEXEC, 0);
    CHECK(fd >= 0 && locked_begin(fd) == 0);
    dmabufd_disconnect(d);
    return 0;
}

static int lock_and_register(void)
{
    static const unsigned char page[4 * KIB];
    unsigned char bytes[PROTO_REQUEST_MAX];
    int sock = raw_greeted(), fd = memfd_create("mine", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    CHECK(sock >= 0 && write(fd, page, sizeof(page)) == sizeof(page));
    CHECK(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK) == 0);
    CHECK(locked_begin(fd) == 0);
    CHECK(raw_send(sock, bytes, raw_register(bytes, 2, sizeof(page)), fd, 1) == 0);
    return 0;
}

/* The lock goes with the process. */
static int lock_until_told(void *data)
{
    const struct locker *locker = data;
    char go;

    CHECK((locker->registers ? lock_and_register() : lock_and_leave()) == 0);
    CHECK(write_all(locker->sock, "l", 1));
    CHECK(read_all(locker->sock, &go, 1));
    return 0;
}

/* Return: the stream by which to let it go. */
static int start_locker(bool registers, pid_t *ret)
{
    struct locker locker = { .registers = registers };
    int pair[2];
    char locked;

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    locker.sock = pair[1];
    *ret = spawn_as(TEST_CLIENT_UID, lock_until_told, &locker);
    close(pair[1]);
    assert_true(read_all(pair[0], &locked, 1));
    return pair[0];
}

static void end_locker(int sock, pid_t pid)
{
    assert_true(write_all(sock, "g", 1));
    close(sock);
    assert_int_equal(join(pid), 0);
}

static void need_lockers(void)
{
    if (locked_prepare())
        return;
    print_message("needs /dev/userfaultfd\n");
    skip();
}

/* Threads of the keeper that wait in the kernel and cannot be killed. */
static unsigned int hanging_threads(void)
{
    unsigned int count = 0;
    struct dirent *entry;
    char path[320];
    DIR *dir;

    snprintf(path, sizeof(path), "/proc/%d/task", (int)daemon_of_test.keeper);
    dir = opendir(path);
    assert_non_null(dir);
    while ((entry = readdir(dir))) {
        char state = 0;
        FILE *file;

        snprintf(path, sizeof(path), "/proc/%d/task/%s/stat", (int)daemon_of_test.keeper,
                 entry->d_name);
        file = fopen(path, "re");
        if (file && fscanf(file, "%*d %*s %c", &state) == 1)
            count += state == 'D';
        if (file)
            fclose(file);
    }
    closedir(dir);
    return count;
}

static bool one_hangs(void *data)
{
    (void)data;
    return hanging_threads() == 1;
}

static bool two_hang(void *data)
{
    (void)data;
    return hanging_threads() == 2;
}

static uint32_t jobs_now(dmabufd *d)
{
    struct dmabufd_status status;

    assert_int_equal(dmabufd_get_status(d, &status), 0);
    return status.jobs;
}

static void locked_file_hurts_nobody(void **state)
{
    struct bystander bystander;
    pid_t pid;
    int sock;

    (void)state;
    need_lockers();
    bystander_start(&bystander, &daemon_of_test);
    bystander_before(&bystander);
    for (int registers = 0; registers < 2; registers++) {
        sock = start_locker(registers, &pid);
        wait_until(one_hangs, NULL);
        for (int i = 0; i < 20; i++) {
            bystander_check(&bystander);
            bystander_check_alloc(&bystander);
        }
        assert_true(one_hangs(NULL));
        end_locker(sock, pid);
        bystander_after(&bystander);
    }
    bystander_stop(&bystander);
}

/* More of them than the keeper has threads to spare, but one user has only two. */
static void locked_files_hurt_no_other_user(void **state)
{
    struct bystander bystander;
    pid_t pids[20];
    int socks[20];

    (void)state;
    need_lockers();
    bystander_start(&bystander, &daemon_of_test);
    bystander_before(&bystander);
    for (size_t i = 0; i < 20; i++)
        socks[i] = start_locker(i % 2, &pids[i]);
    wait_until(two_hang, NULL);
    for (int i = 0; i < 20; i++) {
        bystander_check(&bystander);
        bystander_check_alloc(&bystander);
    }
    assert_true(two_hang(NULL));
    assert_int_equal(jobs_now(bystander.d), 20);
    for (size_t i = 0; i < 20; i++)
        end_locker(socks[i], pids[i]);
    bystander_after(&bystander);
    bystander_stop(&bystander);
}

static bool gives_up(void *data)
{
    (void)data;
    return daemon_log_count(&daemon_of_test, "1 files are locked") > 0;
}

/* Only the file is left behind; the kernel ends the process when it can. */
static void locked_file_does_not_stop_the_end(void **state)
{
    pid_t pid;
    int sock;

    (void)state;
    need_lockers();
    daemon_start(&daemon_of_test, NULL);
    sock = start_locker(false, &pid);
    wait_until(one_hangs, NULL);
    assert_int_equal(kill(daemon_of_test.keeper, SIGTERM), 0);
    wait_until(gives_up, NULL);
    end_locker(sock, pid);
    /* A second signal could come too late to be handled. */
    assert_int_equal(join(daemon_of_test.keeper), 0);
    daemon_of_test.keeper = 0;
    daemon_kill(&daemon_of_test);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(locked_file_hurts_nobody),
        TEST(locked_files_hurt_no_other_user),
        cmocka_unit_test(locked_file_does_not_stop_the_end),
    };

    return cmocka_run_group_tests_name("locked", tests, NULL, NULL);
}
