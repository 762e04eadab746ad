/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Buffers that pass from process to process by descriptor: what a read-only one lets its holder do, as
 * another user who tries hard, and descriptors that look like a buffer's and are not. Against any
 * backend. Names are test-names.c's, inode numbers tests/unit/test-store-find.c's.
 */
#include <dmabufd.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "tests/integration/harness.h"

#define SIZE (UINT64_C(256) << 10)
#define MARK 0x5a

static struct daemon daemon_of_group;

static int start(void **state)
{
    (void)state;
    daemon_start(&daemon_of_group, NULL);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    daemon_stop(&daemon_of_group);
    return 0;
}

/* ---- two processes: one allocates and passes a descriptor, the other gets it ---- */

struct pair {
    int owner, guest; /* the two ends */
    bool readonly;    /* what is passed */
    int (*guest_does)(dmabufd *d, int fd);
};

static int be_owner(void *data)
{
    const struct pair *pair = data;
    unsigned char *memory;
    dmabufd_buffer *buffer;
    int fd = -1;
    char done;
    dmabufd *d;

    close(pair->guest);
    CHECK(dmabufd_connect(&d, NULL) == 0 && dmabufd_alloc(d, SIZE, 4096, &buffer) == 0);
    CHECK(dmabufd_buffer_access(buffer) == DMABUFD_READ_WRITE);
    memory = dmabufd_buffer_data(buffer);
    memset(memory, MARK, SIZE);
    if (pair->readonly)
        CHECK(dmabufd_share(buffer, &fd) == 0 && (fcntl(fd, F_GETFD) & FD_CLOEXEC));
    send_fd(pair->owner, pair->readonly ? fd : dmabufd_buffer_fd(buffer),
            dmabufd_buffer_id(buffer));
    CHECK(read_all(pair->owner, &done, 1));
    for (uint64_t i = 0; i < SIZE && pair->readonly; i++)
        CHECK(memory[i] == MARK);
    if (!pair->readonly)
        CHECK(memory[0] == 'w');
    dmabufd_disconnect(d);
    return 0;
}

static int be_guest(void *data)
{
    const struct pair *pair = data;
    uint64_t id;
    int fd = receive_fd(pair->guest, &id);
    dmabufd *d;

    CHECK(fd >= 0 && dmabufd_connect(&d, NULL) == 0);
    CHECK(pair->guest_does(d, fd) == 0);
    CHECK(write_all(pair->guest, "d", 1));
    close(fd);
    dmabufd_disconnect(d);
    return 0;
}

static void check_pair(bool readonly, int (*guest_does)(dmabufd *d, int fd))
{
    struct pair pair = { .readonly = readonly, .guest_does = guest_does };
    struct leftovers before;
    pid_t owner, guest;
    int ends[2], a, b;

    leftovers_read(&daemon_of_group, &before);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
    pair.owner = ends[0];
    pair.guest = ends[1];
    owner = spawn_as(TEST_CLIENT_UID, be_owner, &pair);
    close(ends[0]);
    guest = spawn_as(TEST_OTHER_UID, be_guest, &pair);
    close(ends[1]);
    b = join(guest);
    a = join(owner);
    assert_int_equal(b, 0);
    assert_int_equal(a, 0);
    leftovers_settle(&daemon_of_group, &before);
}

/* ---- rights ---- */

static uint32_t listed_access(dmabufd *d)
{
    struct dmabufd_buffer_info *list;
    uint32_t access;
    size_t count;

    if (dmabufd_list(d, &list, &count) < 0 || count != 1)
        return 0;
    access = list->access;
    free(list);
    return access;
}

static bool dies_of_a_store(volatile char *where)
{
    pid_t pid = fork();

    if (pid == 0) {
        setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 });
        /* The sanitizers have handlers of their own. */
        signal(SIGSEGV, SIG_DFL);
        *where = 'x';
        _exit(0);
    }
    return join(pid) == 128 + SIGSEGV;
}

static int read_through_share(dmabufd *d, int fd)
{
    dmabufd_buffer *buffer, *again;
    uint64_t address, length;
    char *memory;
    int second;

    CHECK(dmabufd_lookup(d, fd, &buffer) == 0);
    CHECK(dmabufd_buffer_access(buffer) == DMABUFD_READ_ONLY);
    CHECK(listed_access(d) == DMABUFD_READ_ONLY);
    CHECK(dmabufd_buffer_size(buffer) == SIZE);
    memory = dmabufd_buffer_data(buffer);
    CHECK(memory[0] == MARK && memory[SIZE - 1] == MARK);
    CHECK(dmabufd_translate(d, memory + 5000, &address, &length) == 0 && length > 0);
    CHECK(dies_of_a_store(memory + 100));
    /* It can be passed on as it is. */
    CHECK(dmabufd_share(buffer, &second) == 0);
    CHECK((fcntl(second, F_GETFL) & O_ACCMODE) == O_RDONLY);
    CHECK(dmabufd_lookup(d, second, &again) == 0);
    CHECK(dmabufd_buffer_access(again) == DMABUFD_READ_ONLY);
    CHECK(dmabufd_free(again) == 0);
    CHECK(dmabufd_lookup(d, dmabufd_buffer_fd(buffer), &again) == 0);
    CHECK(dmabufd_free(again) == 0);
    /* But nobody is let in with more. */
    CHECK(dmabufd_publish(buffer, "mine-now", 0600, DMABUFD_GROUP_OWN) == -EACCES);
    CHECK(dmabufd_publish(buffer, "mine-now", 0222, DMABUFD_GROUP_OWN) == -EACCES);
    CHECK(dmabufd_last_code() == DMABUFD_CODE_DENIED);
    CHECK(dmabufd_publish(buffer, "mine-now", 0444, DMABUFD_GROUP_OWN) == 0);
    CHECK(dmabufd_open(d, "mine-now", DMABUFD_READ_WRITE, DMABUFD_OWNER_ANY, &again) == -EACCES ||
          getuid() == 0);
    close(second);
    CHECK(dmabufd_free(buffer) == 0);
    return 0;
}

static void readers_read(void **state)
{
    (void)state;
    check_pair(true, read_through_share);
}

static int write_through_descriptor(dmabufd *d, int fd)
{
    dmabufd_buffer *buffer, *readable;
    int share;

    CHECK(dmabufd_lookup(d, fd, &buffer) == 0);
    CHECK(dmabufd_buffer_access(buffer) == DMABUFD_READ_WRITE);
    /* With both, what counts is the better one, whichever ends first. */
    CHECK(dmabufd_share(buffer, &share) == 0 && dmabufd_lookup(d, share, &readable) == 0);
    CHECK(dmabufd_buffer_access(readable) == DMABUFD_READ_ONLY);
    CHECK(listed_access(d) == DMABUFD_READ_WRITE);
    *(char *)dmabufd_buffer_data(buffer) = 'w';
    CHECK(*(char *)dmabufd_buffer_data(readable) == 'w');
    CHECK(dmabufd_free(readable) == 0 && listed_access(d) == DMABUFD_READ_WRITE);
    CHECK(dmabufd_publish(buffer, "written", 0600, DMABUFD_GROUP_OWN) == 0);
    CHECK(dmabufd_free(buffer) == 0);
    close(share);
    return 0;
}

static void writers_write(void **state)
{
    (void)state;
    check_pair(false, write_through_descriptor);
}

static int open_anew(int fd, int flags)
{
    char path[32];

    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    return open(path, flags | O_CLOEXEC);
}

static bool write_memory_file(char *where)
{
    int fd = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
    ssize_t n = pwrite(fd, "x", 1, (off_t)(uintptr_t)where);

    close(fd);
    return n == 1;
}

static int try_to_write(dmabufd *d, int fd)
{
    struct iovec from = { .iov_base = (void *)(uintptr_t) "x", .iov_len = 1 },
                 to = { .iov_len = 1 };
    dmabufd_buffer *buffer;
    char *memory;

    /* Changing users hides /proc/self/fd; a client that was started as this user has it. */
    CHECK(prctl(PR_SET_DUMPABLE, 1) == 0 && access("/proc/self/fd", X_OK) == 0);
    CHECK(dmabufd_lookup(d, fd, &buffer) == 0);
    memory = dmabufd_buffer_data(buffer);
    to.iov_base = memory;
    CHECK(open_anew(fd, O_RDWR) < 0 && errno == EACCES);
    CHECK(open_anew(fd, O_WRONLY) < 0 && errno == EACCES);
    CHECK(open_anew(fd, O_RDONLY | O_TRUNC) < 0 && errno == EACCES);
    CHECK(open_anew(fd, O_RDONLY) < 0 && errno == EACCES);
    CHECK(fchmod(fd, 0666) < 0 && errno == EPERM);
    CHECK(fchown(fd, getuid(), getgid()) < 0 && errno == EPERM);
    CHECK(fcntl(fd, F_SETFL, O_RDWR) == 0 && (fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDONLY);
    CHECK(pwrite(fd, "x", 1, 0) < 0 && errno == EBADF);
    CHECK(ftruncate(fd, 0) < 0);
    CHECK(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096) < 0);
    CHECK(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE) < 0);
    CHECK(mmap(NULL, SIZE, PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED && errno == EACCES);
    CHECK(mprotect(memory, SIZE, PROT_READ | PROT_WRITE) < 0 && errno == EACCES);
    CHECK(madvise(memory, SIZE, MADV_REMOVE) < 0);
    /* ENOSYS: without CONFIG_CROSS_MEMORY_ATTACH. */
    CHECK(process_vm_writev(getpid(), &from, 1, &to, 1, 0) < 0 &&
          (errno == EFAULT || errno == ENOSYS));
    CHECK(!write_memory_file(memory));
    CHECK(memory[0] == MARK);
    CHECK(dmabufd_register(d, fd, 0, SIZE, NULL, &(dmabufd_buffer *){ NULL }) == -EACCES);
    CHECK(dmabufd_free(buffer) == 0);
    return 0;
}

static void readers_cannot_write(void **state)
{
    (void)state;
    /* Root, and the user that runs the daemon, may open everything anew. */
    if (getuid() != 0)
        skip();
    check_pair(true, try_to_write);
}

/* ---- identity ---- */

static bool is_refused(dmabufd *d, int fd)
{
    dmabufd_buffer *buffer;
    bool refused = fd >= 0 && dmabufd_lookup(d, fd, &buffer) == -ENXIO &&
                   dmabufd_last_code() == DMABUFD_CODE_NOT_A_BUFFER;

    close(fd);
    return refused;
}

/* Whoever may open the memory anew has another open file on it, which is no proof. */
static int present_reopened(void *data)
{
    dmabufd_buffer *buffer, *found;
    int share, copy;
    dmabufd *d;

    (void)data;
    CHECK(dmabufd_connect(&d, NULL) == 0 && dmabufd_alloc(d, SIZE, 4096, &buffer) == 0);
    for (int shared = 0; shared < 2; shared++) {
        CHECK(is_refused(d, open_anew(dmabufd_buffer_fd(buffer), O_RDWR)));
        CHECK(is_refused(d, open_anew(dmabufd_buffer_fd(buffer), O_RDONLY)));
        CHECK(dmabufd_share(buffer, &share) == 0);
        CHECK(is_refused(d, open_anew(share, O_RDONLY)));
        CHECK(is_refused(d, open_anew(share, O_RDWR)));
        copy = fcntl(share, F_DUPFD_CLOEXEC, 100);
        close(share);
        CHECK(dmabufd_lookup(d, copy, &found) == 0);
        CHECK(dmabufd_buffer_id(found) == dmabufd_buffer_id(buffer));
        CHECK(dmabufd_free(found) == 0);
        CHECK(dmabufd_lookup(d, open_anew(copy, O_PATH), &found) == -EACCES);
        CHECK(dmabufd_lookup(d, open_anew(copy, O_WRONLY), &found) == -EACCES);
        close(copy);
    }
    /* Not even a descriptor that was right keeps a buffer alive. */
    CHECK(dmabufd_share(buffer, &share) == 0);
    copy = fcntl(dmabufd_buffer_fd(buffer), F_DUPFD_CLOEXEC, 100);
    CHECK(dmabufd_free(buffer) == 0);
    CHECK(is_refused(d, share) && is_refused(d, copy));
    dmabufd_disconnect(d);
    return 0;
}

static void opened_anew(void **state)
{
    (void)state;
    run_as(0, present_reopened, NULL);
}

static int present_own_files(dmabufd *d, int fd)
{
    int made = memfd_create("dmabufd", MFD_ALLOW_SEALING);
    dmabufd_buffer *registered;

    (void)fd;
    CHECK(made >= 0 && ftruncate(made, SIZE) == 0 && fchmod(made, 0600) == 0);
    for (uint64_t at = 0; at < SIZE; at += 4096)
        CHECK(pwrite(made, "x", 1, (off_t)at) == 1);
    CHECK(fcntl(made, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0);
    CHECK(is_refused(d, dup(made)));
    CHECK(is_refused(d, open_anew(made, O_RDONLY)));
    /* Registered memory is its maker's: not to be found, shared or published by the daemon. */
    CHECK(dmabufd_register(d, made, 0, SIZE, NULL, &registered) == 0);
    CHECK(is_refused(d, dup(made)));
    CHECK(is_refused(d, dup(dmabufd_buffer_fd(registered))));
    CHECK(dmabufd_share(registered, &made) == -EOPNOTSUPP);
    CHECK(dmabufd_publish(registered, "x", 0600, DMABUFD_GROUP_OWN) == -EOPNOTSUPP);
    CHECK(dmabufd_last_code() == DMABUFD_CODE_UNSUPPORTED);
    CHECK(dmabufd_free(registered) == 0);
    return 0;
}

static void files_of_a_client(void **state)
{
    (void)state;
    check_pair(true, present_own_files);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(readers_read),         cmocka_unit_test(writers_write),
        cmocka_unit_test(readers_cannot_write), cmocka_unit_test(opened_anew),
        cmocka_unit_test(files_of_a_client),
    };

    return cmocka_run_group_tests_name("sharing", tests, start, stop);
}
