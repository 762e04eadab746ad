/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Row "restart": the broker is killed; how long until a client that connects again has its first
 * answer. Beside the least that this can be: another process is started in place of one that was
 * killed, accepts a connection on the same kind of socket and answers one message.
 *
 * Two kinds of death: of a broker that lived long enough for the supervisor not to wait, and of one
 * that follows others at once, where it waits longer each time (daemon/keeper/backoff.h).
 */
#include <err.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/bench.h"

#define ROW "restart"
/* Longer than this, and something is broken, ns. */
#define PATIENCE_NS (10 * UINT64_C(1000000000))
/* A broker that has lived this long is replaced at once: BACKOFF_SETTLED_NS, and a little more. */
#define SETTLED_US 1100000U
/* Deaths in a row without a pause: more than it takes to the longest wait. */
#define IN_A_ROW 8U

extern char **environ;

/* ---- the floor ---- */

/* The process that answers, and where it listens. */
struct answerer {
    char program[256];
    struct sockaddr_un address;
    socklen_t length;
    int listener;
    pid_t pid;
};

/* Beside this program, or above it where libtool has put that into .libs. */
static void find_program(char *path, size_t size)
{
    ssize_t n = readlink("/proc/self/exe", path, size - 1);
    char *slash;

    path[n > 0 ? n : 0] = '\0';
    slash = strrchr(path, '/');
    if (slash)
        *slash = '\0';
    slash = strrchr(path, '/');
    if (slash && strcmp(slash, "/.libs") == 0)
        *slash = '\0';
    strncat(path, "/dmabufd-bench-answer", size - strlen(path) - 1);
}

static void answerer_start(struct answerer *answerer)
{
    char *argv[] = { answerer->program, NULL };
    posix_spawn_file_actions_t actions;
    int r;

    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, answerer->listener, 3);
    r = posix_spawn(&answerer->pid, answerer->program, &actions, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    if (r != 0)
        errx(1, "%s: %s", answerer->program, strerror(r));
}

static void answerer_kill(struct answerer *answerer)
{
    kill(answerer->pid, SIGKILL);
    waitpid(answerer->pid, NULL, 0);
}

/* An abstract address, which the kernel chooses. */
static void answerer_open(struct answerer *answerer)
{
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

    memset(answerer, 0, sizeof(*answerer));
    answerer->address.sun_family = AF_UNIX;
    answerer->length = sizeof(answerer->address);
    find_program(answerer->program, sizeof(answerer->program));
    if (fd < 0 || bind(fd, (const struct sockaddr *)&answerer->address, sizeof(sa_family_t)) < 0 ||
        getsockname(fd, (struct sockaddr *)&answerer->address, &answerer->length) < 0 ||
        listen(fd, 16) < 0)
        err(1, "a socket");
    /* Not the number that the child is to have it under, which then would stay closed on exec. */
    answerer->listener = fcntl(fd, F_DUPFD_CLOEXEC, 10);
    close(fd);
    answerer_start(answerer);
}

static void answerer_close(struct answerer *answerer)
{
    answerer_kill(answerer);
    close(answerer->listener);
}

static void restart_bare(struct answerer *answerer, struct samples *samples)
{
    uint64_t begin = now_ns();
    char message[64] = "well?";
    int fd;

    answerer_kill(answerer);
    answerer_start(answerer);
    fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&answerer->address, answerer->length) < 0 ||
        send(fd, message, sizeof(message), MSG_NOSIGNAL) != sizeof(message) ||
        recv(fd, message, sizeof(message), 0) != sizeof(message))
        err(1, "%s", answerer->program);
    samples_add_since(samples, begin);
    close(fd);
}

/* ---- ours ---- */

static void check_patience(uint64_t begin)
{
    if (now_ns() - begin > PATIENCE_NS)
        errx(1, "no answer after the broker was killed: %s", dmabufd_last_error());
}

/* What a client does: learns that its connection ended, and makes another one. */
static void restart_once(struct bench *bench, struct samples *samples)
{
    struct dmabufd_status status;
    uint64_t begin = now_ns();
    dmabufd *next;

    if (kill(bench->placement.broker, SIGKILL) < 0)
        err(1, "killing the broker");
    while (dmabufd_get_status(bench->d, &status) == 0)
        check_patience(begin);
    dmabufd_disconnect(bench->d);
    while (dmabufd_connect(&next, NULL) < 0)
        check_patience(begin);
    if (dmabufd_get_status(next, &status) < 0)
        errx(1, "%s", dmabufd_last_error());
    samples_add_since(samples, begin);
    bench->d = next;
    placement_find_broker(&bench->placement);
}

static void settle(void)
{
    usleep(SETTLED_US);
}

static void add(struct bench *bench, const char *what, struct samples *ours,
                const struct summary *floor)
{
    struct result result = {
        .row = ROW,
        .where = placement_name(PLACE_ANY_CPU),
        .ours = samples_summary(ours),
        .floor = *floor,
        .floor_name = "another small process started, which accepts and answers one message",
    };

    snprintf(result.what, sizeof(result.what), "%s", what);
    report_add(&bench->report, &result);
}

static bool may_kill(const struct bench *bench)
{
    return kill(bench->placement.broker, 0) == 0;
}

void row_restart(struct bench *bench)
{
    CLEANUP_SAMPLES struct samples settled = { 0 }, in_a_row = { 0 }, bare = { 0 };
    struct answerer answerer;
    struct summary floor;
    struct pace pace;

    if (!may_kill(bench)) {
        report_skip(&bench->report, ROW, "broker killed: first answer after",
                    placement_name(PLACE_ANY_CPU), "only root may kill the broker");
        return;
    }
    placement_enter(&bench->placement, PLACE_ANY_CPU);
    answerer_open(&answerer);
    pace = pace_begin(bench, 25, 5);
    while (pace_more(&pace)) {
        settle();
        restart_once(bench, &settled);
        for (int i = 0; i < 5; i++)
            restart_bare(&answerer, &bare);
    }
    answerer_close(&answerer);
    settle();
    for (unsigned int i = 0; i < IN_A_ROW; i++)
        restart_once(bench, &in_a_row);
    floor = samples_summary(&bare);
    add(bench, "broker killed: first answer after", &settled, &floor);
    add(bench, "killed again at once, 8 times", &in_a_row, &floor);
}
