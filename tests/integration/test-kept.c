/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Kept: clients that give a buffer back, or leave, and keep its descriptor and its mapping, or its
 * lock. The pages are gone all the same, so --memory-limit holds; and whoever locks a file hurts
 * nobody but himself.
 *
 * A file tells how many pages it has (st_blocks), whatever else the host does.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/integration/bystander.h"
#include "tests/integration/locked.h"
#include "tests/integration/raw.h"

#define KIB UINT64_C(1024)
#define MIB (KIB * KIB)

#define HUGE (2 * MIB)
#define SIZE (48 * MIB)

static const char *const limited[] = { "--memory-limit=64M", "--memory-limit-per-user=64M", NULL };
static struct daemon daemon_of_test;

static int start(void **state)
{
    (void)state;
    daemon_start(&daemon_of_test, limited);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    daemon_stop(&daemon_of_test);
    return 0;
}

static uint64_t pages_of(int fd)
{
    struct stat st;

    assert_int_equal(fstat(fd, &st), 0);
    return (uint64_t)st.st_blocks;
}

static bool is_empty(void *data)
{
    return pages_of(*(int *)data) == 0;
}

/* A buffer full of data that is kept, in a descriptor and a mapping, when it is freed. */
struct kept {
    int fd;
    unsigned char *memory;
    uint64_t size;
};

static dmabufd_buffer *allocate(dmabufd *d, uint64_t size, uint64_t page_size, struct kept *kept)
{
    dmabufd_buffer *buffer;

    if (dmabufd_alloc(d, size, page_size, &buffer) != 0)
        fail_msg("%s", dmabufd_last_error());
    kept->size = size;
    kept->fd = fcntl(dmabufd_buffer_fd(buffer), F_DUPFD_CLOEXEC, 0);
    assert_true(kept->fd >= 0);
    kept->memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, kept->fd, 0);
    assert_ptr_not_equal(kept->memory, MAP_FAILED);
    memset(kept->memory, 0x5a, size);
    assert_true(pages_of(kept->fd) >= size / 512);
    return buffer;
}

static void let_go(struct kept *kept)
{
    munmap(kept->memory, kept->size);
    close(kept->fd);
}

static void pages_go_with_free(void **state)
{
    struct kept kept[20];
    dmabufd *d;

    (void)state;
    assert_int_equal(dmabufd_connect(&d, NULL), 0);
    for (size_t i = 0; i < 20; i++) {
        dmabufd_buffer *buffer = allocate(d, SIZE, 4 * KIB, &kept[i]);

        assert_int_equal(dmabufd_free(buffer), 0);
        assert_int_equal(pages_of(kept[i].fd), 0);
    }
    /* Whoever writes again has new pages, its own, and no say over the daemon's. */
    for (size_t i = 0; i < 20; i++) {
        kept[i].memory[0] = 1;
        assert_int_equal(kept[i].memory[1], 0);
        assert_int_equal(pages_of(kept[i].fd), 8);
    }
    for (size_t i = 0; i < 20; i++)
        let_go(&kept[i]);
    dmabufd_disconnect(d);
}

struct giver {
    int sock;
    uint64_t size;
};

/* Passes its buffer on, and leaves. */
static int give_away(void *data)
{
    const struct giver *giver = data;
    dmabufd_buffer *buffer;
    dmabufd *d;

    CHECK(dmabufd_connect(&d, NULL) == 0);
    CHECK(dmabufd_alloc(d, giver->size, 4 * KIB, &buffer) == 0);
    memset(dmabufd_buffer_data(buffer), 0x5a, giver->size);
    send_fd(giver->sock, fcntl(dmabufd_buffer_fd(buffer), F_DUPFD_CLOEXEC, 0), 0);
    return 0;
}

static int take_from_another(uint64_t size, pid_t *ret)
{
    struct giver giver = { .size = size };
    uint64_t number;
    int pair[2], fd;

    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    giver.sock = pair[1];
    *ret = spawn_as(TEST_CLIENT_UID, give_away, &giver);
    close(pair[1]);
    fd = receive_fd(pair[0], &number);
    close(pair[0]);
    assert_true(fd >= 0);
    return fd;
}

static void pages_go_with_the_client(void **state)
{
    int fds[10];
    pid_t pid;

    (void)state;
    for (size_t i = 0; i < 10; i++) {
        fds[i] = take_from_another(SIZE, &pid);
        assert_int_equal(join(pid), 0);
        wait_until(is_empty, &fds[i]);
    }
    for (size_t i = 0; i < 10; i++)
        close(fds[i]);
}

/* The last holder decides, not the first. */
static void pages_stay_with_a_holder(void **state)
{
    dmabufd_buffer *first, *second;
    struct kept kept;
    dmabufd *d, *other;

    (void)state;
    assert_int_equal(dmabufd_connect(&d, NULL), 0);
    assert_int_equal(dmabufd_connect(&other, NULL), 0);
    first = allocate(d, MIB, 4 * KIB, &kept);
    assert_int_equal(dmabufd_lookup(other, kept.fd, &second), 0);
    assert_int_equal(dmabufd_free(first), 0);
    dmabufd_disconnect(d);
    assert_int_equal(pages_of(kept.fd), MIB / 512);
    assert_int_equal(kept.memory[MIB - 1], 0x5a);
    assert_int_equal(dmabufd_free(second), 0);
    assert_int_equal(pages_of(kept.fd), 0);
    dmabufd_disconnect(other);
    let_go(&kept);
}

static void registered_memory_stays(void **state)
{
    int fd = memfd_create("mine", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    dmabufd_buffer *buffer;
    unsigned char *memory;
    dmabufd *d;

    (void)state;
    assert_int_equal(ftruncate(fd, MIB), 0);
    assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
    memory = mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    memset(memory, 0x33, MIB);
    assert_int_equal(dmabufd_connect(&d, NULL), 0);
    assert_int_equal(dmabufd_register(d, fd, 0, MIB, NULL, &buffer), 0);
    assert_int_equal(dmabufd_free(buffer), 0);
    assert_int_equal(pages_of(fd), MIB / 512);
    assert_int_equal(memory[MIB - 1], 0x33);
    dmabufd_disconnect(d);
    munmap(memory, MIB);
    close(fd);
}

/* They are in the host's pool again when free has returned. */
static void huge_pages_go_with_free(void **state)
{
    uint64_t before = huge_pages_free(HUGE);
    dmabufd_buffer *buffer;
    struct kept kept;
    dmabufd *d;

    (void)state;
    if (before < 4) {
        print_message("needs 4 free huge pages\n");
        skip();
    }
    assert_int_equal(dmabufd_connect(&d, NULL), 0);
    buffer = allocate(d, 4 * HUGE, HUGE, &kept);
    assert_int_equal(huge_pages_free(HUGE), before - 4);
    assert_int_equal(dmabufd_free(buffer), 0);
    assert_int_equal(pages_of(kept.fd), 0);
    assert_int_equal(huge_pages_free(HUGE), before);
    let_go(&kept);
    dmabufd_disconnect(d);
}

/* ---- files that a client locks ---- */

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
    daemon_stop(&daemon_of_test);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(pages_go_with_free),
        TEST(pages_go_with_the_client),
        TEST(pages_stay_with_a_holder),
        TEST(registered_memory_stays),
        TEST(huge_pages_go_with_free),
        TEST(locked_file_hurts_nobody),
        TEST(locked_files_hurt_no_other_user),
        cmocka_unit_test(locked_file_does_not_stop_the_end),
    };

    return cmocka_run_group_tests_name("kept", tests, NULL, NULL);
}
