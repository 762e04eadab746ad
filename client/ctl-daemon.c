/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Starting and stopping the private daemon; see ctl-daemon.h.
 *
 * It has a process group of its own, so that Ctrl-C ends the command first and the daemon after it,
 * and it gets SIGTERM from the kernel if dmabufctl is killed, so that no daemon is left.
 */
#include "client/ctl-daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "client/ctl.h"
#include "common/cleanup.h"

#define FIRST_PASSED_FD 3
#define SLOW_STOP_MS    1000
#define STOP_MS         10000

/* A user's own runtime directory is closed to the other users that @shared is about. */
static int make_directory(struct private_daemon *daemon, bool shared)
{
    const char *base = shared ? NULL : getenv("XDG_RUNTIME_DIR");
    int n;

    if (!base || *base != '/' || strlen(base) > 40)
        base = "/tmp";
    n = snprintf(daemon->directory, sizeof(daemon->directory), "%s/dmabufd-XXXXXX", base);
    if (n < 0 || !mkdtemp(daemon->directory) || chmod(daemon->directory, 0711) < 0) {
        ctl_error("cannot make a directory in %s: %s", base, strerror(errno));
        daemon->directory[0] = '\0';
        return -1;
    }
    snprintf(daemon->socket, sizeof(daemon->socket), "%s/socket", daemon->directory);
    snprintf(daemon->notify, sizeof(daemon->notify), "%s/notify", daemon->directory);
    return 0;
}

static int make_socket(const char *path, int type, mode_t mode, int *ret)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    CLEANUP_FD int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
    mode_t old;
    int r;

    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    old = umask(0777);
    r = fd < 0 ? -1 : bind(fd, (const struct sockaddr *)&address, sizeof(address));
    umask(old);
    if (r < 0 || chmod(path, mode) < 0 || (type == SOCK_SEQPACKET && listen(fd, SOMAXCONN) < 0)) {
        ctl_error("cannot make the socket %s: %s", path, strerror(errno));
        return -1;
    }
    *ret = TAKE_FD(fd);
    return 0;
}

__attribute__((noreturn)) static void run_daemon(const struct private_daemon *daemon,
                                                 char *const argv[], int listen_fd, pid_t parent,
                                                 const sigset_t *mask)
{
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    char pid[16];

    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent)
        _exit(CTL_FAILED);
    if (null >= 0)
        dup2(null, STDIN_FILENO);
    /* dup2() onto itself would leave it close-on-exec. */
    if (listen_fd == FIRST_PASSED_FD)
        fcntl(listen_fd, F_SETFD, 0);
    else
        dup2(listen_fd, FIRST_PASSED_FD);
    snprintf(pid, sizeof(pid), "%d", (int)getpid());
    setenv("LISTEN_FDS", "1", 1);
    setenv("LISTEN_PID", pid, 1);
    unsetenv("LISTEN_FDNAMES");
    setenv("NOTIFY_SOCKET", daemon->notify, 1);
    unsetenv("WATCHDOG_USEC");
    unsetenv("WATCHDOG_PID");
    sigprocmask(SIG_SETMASK, mask, NULL);
    execv(argv[0], argv);
    ctl_error("cannot run %s: %s", argv[0], strerror(errno));
    _exit(127);
}

/* Return: true if it is ready. */
static bool read_notification(struct private_daemon *daemon)
{
    bool ready = false;
    char text[4096];
    ssize_t n;

    while ((n = recv(daemon->notify_fd, text, sizeof(text) - 1, MSG_DONTWAIT)) > 0) {
        char *save;

        text[n] = '\0';
        for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
            if (strcmp(line, "READY=1") == 0)
                ready = true;
            else if (strncmp(line, "STATUS=", 7) == 0)
                snprintf(daemon->status, sizeof(daemon->status), "%s", line + 7);
            else if (strncmp(line, "ERRNO=", 6) == 0)
                daemon->error = (int)strtol(line + 6, NULL, 10);
        }
    }
    return ready;
}

bool private_daemon_reap(struct private_daemon *daemon)
{
    char end[64];

    if (!daemon->pid)
        return true;
    if (waitpid(daemon->pid, &daemon->wait_status, WNOHANG) != daemon->pid)
        return false;
    daemon->pid = 0;
    read_notification(daemon);
    if (WIFSIGNALED(daemon->wait_status))
        snprintf(end, sizeof(end), "killed by signal %d", WTERMSIG(daemon->wait_status));
    else
        snprintf(end, sizeof(end), "exit status %d", WEXITSTATUS(daemon->wait_status));
    if (*daemon->status)
        ctl_error("dmabufd ended (%s), last it said: %s", end, daemon->status);
    else if (daemon->error)
        ctl_error("dmabufd ended (%s): %s", end, strerror(daemon->error));
    else
        ctl_error("dmabufd ended (%s)", end);
    return true;
}

static int wait_until_ready(struct private_daemon *daemon, int signal_fd)
{
    struct pollfd wait[] = { { .fd = daemon->notify_fd, .events = POLLIN },
                             { .fd = signal_fd, .events = POLLIN } };

    for (;;) {
        struct signalfd_siginfo info;

        if (poll(wait, 2, -1) < 0)
            continue;
        if (wait[0].revents && read_notification(daemon))
            return 0;
        if (!wait[1].revents || read(signal_fd, &info, sizeof(info)) != sizeof(info))
            continue;
        if (info.ssi_signo != SIGCHLD)
            return (int)info.ssi_signo;
        if (private_daemon_reap(daemon))
            return -1;
    }
}

int private_daemon_start(struct private_daemon *daemon, char *const argv[], bool shared,
                         int signal_fd, const sigset_t *mask)
{
    CLEANUP_FD int listen_fd = -1;
    pid_t parent = getpid();

    if (make_directory(daemon, shared) < 0 ||
        make_socket(daemon->socket, SOCK_SEQPACKET, shared ? 0666 : 0600, &listen_fd) < 0 ||
        make_socket(daemon->notify, SOCK_DGRAM, 0600, &daemon->notify_fd) < 0)
        return -1;
    daemon->pid = fork();
    if (daemon->pid < 0) {
        daemon->pid = 0;
        ctl_error("cannot start a process: %s", strerror(errno));
        return -1;
    }
    if (daemon->pid == 0)
        run_daemon(daemon, argv, listen_fd, parent, mask);
    return wait_until_ready(daemon, signal_fd);
}

static int64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Return: true if it ended in time. Any signal wakes; only SIGCHLD can change the answer. */
static bool wait_until_ended(struct private_daemon *daemon, int signal_fd, int64_t deadline)
{
    for (;;) {
        struct pollfd wait = { .fd = signal_fd, .events = POLLIN };
        struct signalfd_siginfo info;
        int64_t left = deadline - now_ms();

        if (waitpid(daemon->pid, &daemon->wait_status, WNOHANG) == daemon->pid) {
            daemon->pid = 0;
            return true;
        }
        if (left <= 0)
            return false;
        if (poll(&wait, 1, (int)left) > 0 && read(signal_fd, &info, sizeof(info)) < 0)
            return false;
    }
}

static bool end_process(struct private_daemon *daemon, int signal_fd)
{
    int64_t start = now_ms();

    kill(daemon->pid, SIGTERM);
    if (wait_until_ended(daemon, signal_fd, start + SLOW_STOP_MS))
        return true;
    ctl_error("waiting for dmabufd to end");
    if (wait_until_ended(daemon, signal_fd, start + STOP_MS))
        return true;
    ctl_error("dmabufd did not end within %d s: killing it", STOP_MS / 1000);
    kill(daemon->pid, SIGKILL);
    waitpid(daemon->pid, &daemon->wait_status, 0);
    daemon->pid = 0;
    return false;
}

bool private_daemon_stop(struct private_daemon *daemon, int signal_fd)
{
    bool orderly = !daemon->pid || end_process(daemon, signal_fd);

    fd_close(&daemon->notify_fd);
    if (*daemon->directory) {
        unlink(daemon->socket);
        unlink(daemon->notify);
        rmdir(daemon->directory);
    }
    return orderly;
}
