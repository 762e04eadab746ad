/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Life and death of brokers; see supervisor.h. */
#include "daemon/keeper/supervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "daemon/log.h"

/* So many first brokers may fail before the daemon gives up. */
#define FAILURES_MAX 3U
/* To tell the clients that the daemon ends. Nothing of it waits for a client. */
#define ENDING_SECONDS 1
/* What was killed ends in milliseconds, unless one of its threads hangs in the kernel. */
#define KILLED_SECONDS 2U

extern char **environ;

/* The broker has no business with systemd's notification socket. */
static char **broker_environment(void)
{
    size_t n = 0, kept = 0;
    char **copy;

    while (environ[n])
        n++;
    copy = calloc(n + 1, sizeof(*copy));
    for (size_t i = 0; copy && i < n; i++) {
        if (strncmp(environ[i], "NOTIFY_SOCKET=", 14) != 0 &&
            strncmp(environ[i], "WATCHDOG_", 9) != 0)
            copy[kept++] = environ[i];
    }
    return copy;
}

/* @link and @listen_fd are beyond the numbers they are given in the child. */
static int spawn(int link, int listen_fd, pid_t *ret)
{
    static char name[] = "dmabufd", role[] = "--broker";
    char *argv[] = { name, role, NULL };
    CLEANUP_FREE char **environment = broker_environment();
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none, all;
    int r;

    if (!environment)
        return -ENOMEM;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    r = posix_spawn_file_actions_adddup2(&actions, link, LINK_FD);
    if (r == 0)
        r = posix_spawn_file_actions_adddup2(&actions, listen_fd, LINK_LISTEN_FD);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    if (r == 0)
        r = posix_spawn(ret, "/proc/self/exe", &actions, &attributes, argv, environment);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    return -r;
}

static int on_message(void *data, const void *bytes, size_t size, struct wire_fds *fds)
{
    struct supervisor *supervisor = data;
    struct link_request request;

    if (size == sizeof(request)) {
        memcpy(&request, bytes, sizeof(request));
        watch_heard(&supervisor->watch);
        if (request.op == LINK_PING)
            return watch_answered(&supervisor->watch, request.tag);
        if (request.op == LINK_READY) {
            if (supervisor->is_ready)
                return -EBADMSG;
            supervisor->is_ready = true;
            supervisor->was_ready = true;
            supervisor->failures = 0;
            supervisor->ready(supervisor->data);
            return 0;
        }
    }
    return service_request(supervisor->service, bytes, size, fds);
}

/* Only ever one that was not waited for, whose number nobody else can have. */
static void kill_broker(struct supervisor *supervisor)
{
    const struct timeval bound = { .tv_sec = KILLED_SECONDS };

    if (supervisor->pid <= 0 || evtimer_pending(supervisor->killed_event, NULL))
        return;
    kill(supervisor->pid, SIGKILL);
    evtimer_add(supervisor->killed_event, &bound);
    evtimer_del(supervisor->watch_event);
}

/* The link ended before the process did, or because of what came over it. */
static void on_closed(void *data, int error)
{
    struct supervisor *supervisor = data;

    if (error == -EBADMSG)
        log_err("the broker (pid %d) sent what no broker sends: ending it", (int)supervisor->pid);
    /* One that was told to end closes the link on its way out. */
    if (!supervisor->stopping)
        kill_broker(supervisor);
}

static void on_drained(void *data)
{
    struct supervisor *supervisor = data;

    watch_heard(&supervisor->watch);
    service_drained(supervisor->service);
}

static const struct channel_ops link_ops = { .message = on_message,
                                             .drained = on_drained,
                                             .closed = on_closed };

static void watch_on(struct supervisor *supervisor)
{
    uint64_t us = supervisor->watch.period_ns / 1000;
    struct timeval period = { (time_t)(us / 1000000), (suseconds_t)(us % 1000000) };

    if (us > 0)
        evtimer_add(supervisor->watch_event, &period);
}

/* A broker that cannot be asked is not to blame. */
static void ask(struct supervisor *supervisor)
{
    struct link_reply question = { .op = LINK_PING, .tag = supervisor->watch.number };

    if (channel_send(supervisor->service->link, &question, sizeof(question), NULL) < 0)
        watch_begin(&supervisor->watch, now_ns());
}

static void on_period(evutil_socket_t fd, short what, void *data)
{
    struct supervisor *supervisor = data;

    (void)fd;
    (void)what;
    if (supervisor->pid <= 0)
        return;
    switch (watch_period(&supervisor->watch, now_ns())) {
    case WATCH_HUNG:
        log_err(
            "the broker (pid %d) does not answer for %llu s: killing it; --hang-timeout=0 would "
            "let it be",
            (int)supervisor->pid,
            (unsigned long long)(supervisor->watch.period_ns * WATCH_PERIODS / NS_PER_S));
        kill_broker(supervisor);
        return;
    case WATCH_ASK:
        ask(supervisor);
        break;
    case WATCH_WAIT:
        break;
    }
    watch_on(supervisor);
}

static int high_dup(int fd)
{
    return fcntl(fd, F_DUPFD_CLOEXEC, LINK_LISTEN_FD + 1);
}

static int start(struct supervisor *supervisor, struct fault *fault)
{
    struct service *service = supervisor->service;
    CLEANUP_FD int listen_fd = high_dup(supervisor->listen_fd);
    CLEANUP_FD int theirs = -1;
    int pair[2], r;

    if (listen_fd < 0 ||
        socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
        return fault_set(fault, DMABUFD_CODE_LIMIT, errno, "cannot make the link: %s",
                         strerror(errno));
    theirs = high_dup(pair[1]);
    fd_close(&pair[1]);
    r = channel_new(service->base, pair[0], WIRE_NOBODY, sizeof(struct link_request), false,
                    &link_ops, supervisor, &service->link);
    if (r == 0)
        r = channel_send(service->link, &supervisor->welcome, sizeof(supervisor->welcome), NULL);
    if (r == 0)
        r = theirs < 0 ? -EMFILE : spawn(theirs, listen_fd, &supervisor->pid);
    if (r < 0) {
        service->link = channel_free(service->link);
        return fault_set(fault, DMABUFD_CODE_INTERNAL, -r, "cannot start the broker: %s",
                         strerror(-r));
    }
    supervisor->started_ns = now_ns();
    supervisor->is_ready = false;
    watch_begin(&supervisor->watch, supervisor->started_ns);
    watch_on(supervisor);
    service->broker_starts++;
    log_debug("broker %u started, pid %d", service->broker_starts, (int)supervisor->pid);
    return 0;
}

/* @lived_ns: 0 if it could not be started. */
static void restart_later(struct supervisor *supervisor, bool served, uint64_t lived_ns)
{
    unsigned int ms = backoff_wait(&supervisor->backoff, served, lived_ns);
    struct timeval delay = { ms / 1000, (suseconds_t)(ms % 1000) * 1000 };

    evtimer_add(supervisor->restart_event, &delay);
}

static void on_restart(evutil_socket_t fd, short what, void *data)
{
    struct supervisor *supervisor = data;
    struct fault fault = { 0 };

    (void)fd;
    (void)what;
    if (supervisor->stopping || start(supervisor, &fault) == 0)
        return;
    log_err("%s", fault.text);
    restart_later(supervisor, false, 0);
}

static void log_end(pid_t pid, int status)
{
    if (WIFSIGNALED(status))
        log_err("the broker (pid %d) was killed by signal %d (%s)", (int)pid, WTERMSIG(status),
                strsignal(WTERMSIG(status)));
    else
        log_err("the broker (pid %d) exited with status %d", (int)pid, WEXITSTATUS(status));
}

static void broker_gone(struct supervisor *supervisor)
{
    supervisor->pid = 0;
    evtimer_del(supervisor->watch_event);
    evtimer_del(supervisor->killed_event);
    evtimer_del(supervisor->overdue_event);
    supervisor->service->link = channel_free(supervisor->service->link);
    if (supervisor->stopping) {
        supervisor->ended(supervisor->data);
        return;
    }
    service_broker_gone(supervisor->service);
    if (!supervisor->was_ready && ++supervisor->failures >= FAILURES_MAX)
        supervisor->hopeless(supervisor->data);
    else
        restart_later(supervisor, supervisor->is_ready, now_ns() - supervisor->started_ns);
}

static void log_left_behind(pid_t pid)
{
    log_err("the broker (pid %d) was killed and does not end: leaving it behind; a thread of it "
            "hangs in the kernel (see /proc/%d/task/*/stack), as one that closes a file of a FUSE "
            "server that does not answer; clients are not told that it is gone",
            (int)pid, (int)pid);
}

static void on_killed(evutil_socket_t fd, short what, void *data)
{
    struct supervisor *supervisor = data;

    (void)fd;
    (void)what;
    log_left_behind(supervisor->pid);
    broker_gone(supervisor);
}

/* Also of those that were left behind. */
static void on_child(evutil_socket_t signal, short what, void *data)
{
    struct supervisor *supervisor = data;
    int status;
    pid_t pid;

    (void)signal;
    (void)what;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (pid != supervisor->pid) {
            log_notice("the broker (pid %d) that was left behind has ended", (int)pid);
            continue;
        }
        if (!supervisor->stopping)
            log_end(pid, status);
        broker_gone(supervisor);
    }
}

static void on_overdue(evutil_socket_t fd, short what, void *data)
{
    struct supervisor *supervisor = data;

    (void)fd;
    (void)what;
    if (supervisor->pid <= 0)
        return;
    log_warning("the broker (pid %d) was told to end and did not: killing it",
                (int)supervisor->pid);
    kill_broker(supervisor);
}

int supervisor_start(struct supervisor *supervisor, struct fault *fault)
{
    struct event_base *base = supervisor->service->base;

    supervisor->child_event = evsignal_new(base, SIGCHLD, on_child, supervisor);
    supervisor->restart_event = evtimer_new(base, on_restart, supervisor);
    supervisor->watch_event = evtimer_new(base, on_period, supervisor);
    supervisor->overdue_event = evtimer_new(base, on_overdue, supervisor);
    supervisor->killed_event = evtimer_new(base, on_killed, supervisor);
    if (!supervisor->child_event || !supervisor->restart_event || !supervisor->watch_event ||
        !supervisor->overdue_event || !supervisor->killed_event ||
        event_add(supervisor->child_event, NULL) < 0)
        return fault_set(fault, DMABUFD_CODE_NO_MEMORY, ENOMEM, "out of memory");
    return start(supervisor, fault);
}

void supervisor_end(struct supervisor *supervisor)
{
    struct timeval patience = { .tv_sec = ENDING_SECONDS };
    struct link_reply notice = { .op = LINK_ENDING };

    supervisor->stopping = true;
    if (supervisor->pid <= 0) {
        supervisor->ended(supervisor->data);
        return;
    }
    evtimer_del(supervisor->watch_event);
    if (channel_send(supervisor->service->link, &notice, sizeof(notice), NULL) < 0 ||
        event_add(supervisor->overdue_event, &patience) < 0)
        kill_broker(supervisor);
}

bool supervisor_is_well(const struct supervisor *supervisor)
{
    return supervisor->pid > 0 && supervisor->is_ready && supervisor->watch.silent == 0 &&
           !evtimer_pending(supervisor->killed_event, NULL);
}

static void free_events(struct supervisor *supervisor)
{
    struct event **events[] = { &supervisor->child_event, &supervisor->restart_event,
                                &supervisor->watch_event, &supervisor->overdue_event,
                                &supervisor->killed_event };

    for (size_t i = 0; i < sizeof(events) / sizeof(events[0]); i++) {
        if (*events[i])
            event_free(*events[i]);
        *events[i] = NULL;
    }
}

static bool has_ended(pid_t pid)
{
    const struct timespec moment = { .tv_nsec = NS_PER_MS };
    uint64_t deadline = now_ns() + KILLED_SECONDS * NS_PER_S;
    pid_t r;

    while ((r = waitpid(pid, NULL, WNOHANG)) == 0 && now_ns() < deadline)
        nanosleep(&moment, NULL);
    return r != 0;
}

void supervisor_stop(struct supervisor *supervisor)
{
    supervisor->stopping = true;
    free_events(supervisor);
    supervisor->service->link = channel_free(supervisor->service->link);
    if (supervisor->pid <= 0)
        return;
    kill(supervisor->pid, SIGKILL);
    if (!has_ended(supervisor->pid))
        log_left_behind(supervisor->pid);
    supervisor->pid = 0;
}
