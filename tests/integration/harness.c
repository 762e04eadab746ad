/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The harness of the integration tests; see harness.h. */
#include "tests/integration/harness.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/wire.h"
#include "tests/integration/counters.h"

#define READY_SECONDS 60
#define SETTLE_STEPS  2000 /* of 10 ms */
#define QUIET_STEPS   2    /* without any change in between */

const char *test_backend(void)
{
    const char *backend = getenv("DMABUFD_TEST_BACKEND");

    return backend ? backend : "fake";
}

static void make_directory(struct daemon *daemon)
{
    int log;

    snprintf(daemon->directory, sizeof(daemon->directory), "/tmp/dmabufd-test-XXXXXX");
    assert_non_null(mkdtemp(daemon->directory));
    assert_int_equal(chmod(daemon->directory, 0755), 0);
    snprintf(daemon->socket, sizeof(daemon->socket), "%s/socket", daemon->directory);
    snprintf(daemon->log, sizeof(daemon->log), "%s/log", daemon->directory);
    log = open(daemon->log, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    assert_true(log >= 0);
    close(log);
}

bool daemon_notified(struct daemon *daemon, const char *text)
{
    notify_read(&daemon->notify, 0);
    return strstr(daemon->notify.text, text);
}

static void exec_daemon(const struct daemon *daemon, const char *backend, const char *const *args)
{
    const char *build = getenv("DMABUFD_BUILD_DIR"), *device = getenv("DMABUFD_TEST_DEVICE");
    char *argv[DAEMON_ARGS_MAX + 16], path[512], user[32];
    size_t n = 0;
    int log = open(daemon->log, O_WRONLY | O_CREAT | O_APPEND, 0644);

    dup2(log, STDERR_FILENO);
    dup2(log, STDOUT_FILENO);
    if (daemon->descriptors) {
        struct rlimit limit = { daemon->descriptors, daemon->descriptors };

        setrlimit(RLIMIT_NOFILE, &limit);
    }
    snprintf(path, sizeof(path), "%s/dmabufd", build ? build : ".");
    snprintf(user, sizeof(user), "%u", TEST_BROKER_UID);
    argv[n++] = path;
    argv[n++] = (char *)"--backend";
    argv[n++] = (char *)backend;
    argv[n++] = (char *)"--socket";
    argv[n++] = (char *)daemon->socket;
    argv[n++] = (char *)"--socket-mode";
    argv[n++] = (char *)"0666";
    argv[n++] = (char *)"--user";
    argv[n++] = user;
    if (device && strcmp(backend, "iommufd") == 0) {
        argv[n++] = (char *)"--device";
        argv[n++] = (char *)device;
    }
    for (size_t i = 0; args && args[i]; i++)
        argv[n++] = (char *)args[i];
    argv[n] = NULL;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (daemon->prepare)
        daemon->prepare();
    execv(path, argv);
    dprintf(STDERR_FILENO, "cannot start %s: %s\n", path, strerror(errno));
    _exit(127);
}

/* Return: exit status, or -1 if it has not ended. */
static int look_for_end(struct daemon *daemon)
{
    int status;

    if (waitpid(daemon->keeper, &status, WNOHANG) != daemon->keeper)
        return -1;
    daemon->keeper = 0;
    notify_read(&daemon->notify, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int daemon_await(struct daemon *daemon)
{
    for (int i = 0; i < READY_SECONDS * 100; i++) {
        int status;

        notify_read(&daemon->notify, 10);
        if (strstr(daemon->notify.text, "READY=1"))
            return -1;
        status = look_for_end(daemon);
        if (status >= 0)
            return status;
    }
    fail_msg("the daemon is not ready after %d s", READY_SECONDS);
    return 1;
}

void daemon_launch(struct daemon *daemon, const char *backend, const char *const *args)
{
    make_directory(daemon);
    notify_open(&daemon->notify, daemon->directory);
    daemon->keeper = fork();
    assert_true(daemon->keeper >= 0);
    if (daemon->keeper == 0) {
        setenv("NOTIFY_SOCKET", daemon->notify.path, 1);
        exec_daemon(daemon, backend, args);
    }
}

int daemon_try(struct daemon *daemon, const char *backend, const char *const *args)
{
    daemon_launch(daemon, backend, args);
    return daemon_await(daemon);
}

static void show_log(const struct daemon *daemon)
{
    FILE *file = fopen(daemon->log, "re");
    char line[1024];

    while (file && fgets(line, sizeof(line), file))
        fprintf(stderr, "# %s", line);
    if (file)
        fclose(file);
}

void daemon_start_with(struct daemon *daemon, const char *backend, const char *const *args)
{
    int status = daemon_try(daemon, backend, args);

    if (status >= 0) {
        show_log(daemon);
        fail_msg("the daemon ended with status %d instead of serving", status);
    }
    setenv("DMABUFD_SOCKET", daemon->socket, 1);
}

void daemon_start(struct daemon *daemon, const char *const *args)
{
    daemon_start_with(daemon, test_backend(), args);
}

static void remove_directory(struct daemon *daemon)
{
    notify_close(&daemon->notify);
    unlink(daemon->log);
    unlink(daemon->socket);
    rmdir(daemon->directory);
}

void daemon_stop(struct daemon *daemon)
{
    int status = -1;

    assert_true(daemon->keeper > 0);
    assert_int_equal(kill(daemon->keeper, SIGTERM), 0);
    /* A daemon that is not listened to would wait. */
    while (status < 0) {
        notify_read(&daemon->notify, 10);
        status = look_for_end(daemon);
    }
    if (status != 0)
        show_log(daemon);
    assert_int_equal(status, 0);
    assert_non_null(strstr(daemon->notify.text, "STOPPING=1"));
    assert_int_equal(access(daemon->socket, F_OK), -1);
    remove_directory(daemon);
}

void daemon_kill(struct daemon *daemon)
{
    if (daemon->keeper > 0) {
        kill(daemon->keeper, SIGKILL);
        join(daemon->keeper);
        daemon->keeper = 0;
    }
    remove_directory(daemon);
}

pid_t daemon_broker(const struct daemon *daemon)
{
    char path[64];
    int pid = 0;
    FILE *file;

    snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)daemon->keeper,
             (int)daemon->keeper);
    file = fopen(path, "re");
    /* In the order in which they were started. */
    while (file && fscanf(file, "%d", &pid) == 1)
        continue;
    if (file)
        fclose(file);
    return pid;
}

struct succession {
    const struct daemon *daemon;
    pid_t before, now;
};

static bool has_next_broker(void *data)
{
    struct succession *succession = data;

    succession->now = daemon_broker(succession->daemon);
    return succession->now > 0 && succession->now != succession->before;
}

pid_t daemon_next_broker(const struct daemon *daemon, pid_t before)
{
    struct succession succession = { .daemon = daemon, .before = before };

    wait_until(has_next_broker, &succession);
    return succession.now;
}

void daemon_check_serves(const struct daemon *daemon)
{
    dmabufd_buffer *buffer;
    dmabufd *d;

    assert_int_equal(dmabufd_connect(&d, daemon->socket), 0);
    assert_int_equal(dmabufd_alloc(d, UINT64_C(1) << 20, 4096, &buffer), 0);
    assert_int_equal(dmabufd_free(buffer), 0);
    dmabufd_disconnect(d);
}

unsigned int daemon_log_count(const struct daemon *daemon, const char *text)
{
    FILE *file = fopen(daemon->log, "re");
    unsigned int count = 0;
    char line[2048];

    assert_non_null(file);
    while (fgets(line, sizeof(line), file))
        count += strstr(line, text) != NULL;
    fclose(file);
    return count;
}

pid_t spawn_as(uid_t uid, int (*function)(void *data), void *data)
{
    return spawn_in_groups(uid, NULL, 0, function, data);
}

pid_t spawn_in_groups(uid_t uid, const gid_t *groups, size_t count, int (*function)(void *data),
                      void *data)
{
    pid_t parent = getpid(), pid;

    fflush(NULL);
    pid = fork();
    assert_true(pid >= 0);
    if (pid > 0)
        return pid;
    if (getuid() == 0 && uid != 0 &&
        (setgroups(count, groups) < 0 || setresgid(uid, uid, uid) < 0 ||
         setresuid(uid, uid, uid) < 0))
        _exit(99);
    /* Only now: becoming another user takes it back. */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(99);
    _exit(function(data));
}

int join(pid_t pid)
{
    int status;

    while (waitpid(pid, &status, 0) < 0)
        assert_int_equal(errno, EINTR);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

void run_as(uid_t uid, int (*function)(void *data), void *data)
{
    assert_int_equal(join(spawn_as(uid, function, data)), 0);
}

void wait_until(bool (*condition)(void *data), void *data)
{
    for (int i = 0; i < SETTLE_STEPS; i++) {
        if (condition(data))
            return;
        usleep(10000);
    }
    fail_msg("what was waited for did not come");
}

uint64_t huge_pages_free(uint64_t page_size)
{
    uint64_t count = 0;
    char path[96];
    FILE *file;

    snprintf(path, sizeof(path), "/sys/kernel/mm/hugepages/hugepages-%" PRIu64 "kB/free_hugepages",
             page_size >> 10);
    file = fopen(path, "re");
    if (file && fscanf(file, "%" SCNu64, &count) != 1)
        count = 0;
    if (file)
        fclose(file);
    return count;
}

unsigned int count_fds(pid_t pid)
{
    unsigned int count = 0;
    char path[64];
    DIR *dir;

    snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
    dir = opendir(path);
    while (dir && readdir(dir))
        count++;
    if (dir)
        closedir(dir);
    return count;
}

/* Kernel counters are the whole host's, and can be compared only where nobody else pins or allocates:
 * in the virtual machine, which says so. */
static bool is_alone(void)
{
    return getenv("DMABUFD_TEST_ALONE") != NULL;
}

/* Of memory files and tmpfs, and this daemon's log on it, which may grow. */
static int64_t shmem_kib(const struct daemon *daemon)
{
    struct stat st;

    assert_int_equal(stat(daemon->log, &st), 0);
    return counter_in("/proc/meminfo", "Shmem") - st.st_blocks / 2;
}

static void read_kernel(const struct daemon *daemon, struct leftovers *ret)
{
    char path[64];

    assert_true(counters_refresh());
    snprintf(path, sizeof(path), "/proc/%d/status", (int)daemon->keeper);
    ret->pinned_pages = pinned_pages();
    ret->keeper_pinned_kib = counter_in(path, "VmPin");
    ret->shmem_kib = shmem_kib(daemon);
    assert_true(ret->pinned_pages >= 0 && ret->keeper_pinned_kib >= 0);
    assert_true(ret->shmem_kib >= 0);
}

static void read_now(const struct daemon *daemon, struct leftovers *ret)
{
    struct dmabufd_status status;
    dmabufd *d;
    bool pins;

    assert_int_equal(dmabufd_connect(&d, daemon->socket), 0);
    assert_int_equal(dmabufd_get_status(d, &status), 0);
    pins = dmabufd_get_info(d)->pin != DMABUFD_PIN_NONE;
    dmabufd_disconnect(d);
    *ret = (struct leftovers){ .huge_free = pins ? huge_pages_free(UINT64_C(2) << 20) : 0,
                               .giant_free = pins ? huge_pages_free(UINT64_C(1) << 30) : 0,
                               .keeper_fds = count_fds(daemon->keeper),
                               .buffers = status.buffers,
                               .bytes = status.bytes,
                               .pinned = status.pinned,
                               .jobs = status.jobs };
    if (is_alone())
        read_kernel(daemon, ret);
}

/* The one before may still be taken apart by the kernel, and this one making its pool. */
void leftovers_read(const struct daemon *daemon, struct leftovers *ret)
{
    struct leftovers last;
    int same = 0;

    read_now(daemon, ret);
    for (int i = 0; i < SETTLE_STEPS && same < QUIET_STEPS; i++) {
        usleep(10000);
        last = *ret;
        read_now(daemon, ret);
        same = ret->jobs == 0 && memcmp(&last, ret, sizeof(last)) == 0 ? same + 1 : 0;
    }
    if (same < QUIET_STEPS)
        fail_msg("the daemon does not come to rest");
}

/* Some descriptors are closed late, on another thread: there may be fewer than before. */
static bool is_as_before(const struct leftovers *now, const struct leftovers *before)
{
    struct leftovers same = *now;

    if (same.keeper_fds < before->keeper_fds)
        same.keeper_fds = before->keeper_fds;
    return memcmp(&same, before, sizeof(same)) == 0;
}

void leftovers_settle(const struct daemon *daemon, const struct leftovers *before)
{
    struct leftovers now;
    int same = 0;

    /* More than once: what is given back twice passes by where it was before. */
    for (int i = 0; i < SETTLE_STEPS / 4 && same < QUIET_STEPS; i++) {
        read_now(daemon, &now);
        same = is_as_before(&now, before) ? same + 1 : 0;
        usleep(10000);
    }
    assert_int_equal(now.buffers, before->buffers);
    assert_int_equal(now.bytes, before->bytes);
    assert_int_equal(now.jobs, before->jobs);
    assert_int_equal(now.pinned, before->pinned);
    assert_int_equal(now.huge_free, before->huge_free);
    assert_int_equal(now.giant_free, before->giant_free);
    assert_true(now.keeper_fds <= before->keeper_fds);
    assert_int_equal(now.pinned_pages, before->pinned_pages);
    assert_int_equal(now.keeper_pinned_kib, before->keeper_pinned_kib);
    assert_int_equal(now.shmem_kib, before->shmem_kib);
}

bool write_all(int fd, const void *data, size_t size)
{
    const char *p = data;

    while (size > 0) {
        ssize_t n = write(fd, p, size);

        if (n <= 0)
            return false;
        p += n;
        size -= (size_t)n;
    }
    return true;
}

bool read_all(int fd, void *data, size_t size)
{
    char *p = data;

    while (size > 0) {
        ssize_t n = read(fd, p, size);

        if (n <= 0)
            return false;
        p += n;
        size -= (size_t)n;
    }
    return true;
}

void send_fd(int sock, int fd, uint64_t number)
{
    struct wire_fds fds = WIRE_FDS_NONE;

    fds.fd[0] = fd;
    fds.count = 1;
    assert_int_equal(wire_send(sock, &number, sizeof(number), &fds), 0);
}

int receive_fd(int sock, uint64_t *ret_number)
{
    struct wire_fds fds = WIRE_FDS_NONE;

    assert_int_equal(wire_recv(sock, ret_number, sizeof(*ret_number), &fds), sizeof(*ret_number));
    return wire_fds_take(&fds, 0);
}

uint64_t frame_of(pid_t pid, uint64_t address)
{
    uint64_t entry;

    assert_int_equal(pagemap_entry(pid, address, &entry), 0);
    return entry & PAGEMAP_PRESENT ? (entry & PAGEMAP_FRAME) * 4096 : 0;
}
