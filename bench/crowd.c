/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The processes of a crowd; see crowd.h. */
#include "bench/crowd.h"

#include <dmabufd.h>
#include <err.h>
#include <grp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* Nobody's on any host that this runs on, it is to be hoped; they own nothing. */
#define FIRST_USER 64200U

struct order {
    enum { CONNECT, ALLOCATE } what;
    unsigned int count;
};

struct answer {
    bool done;
    char why[CROWD_WHY_MAX]; /* not */
};

static bool obey(const struct order *order, dmabufd **first)
{
    for (unsigned int i = 0; i < order->count; i++) {
        dmabufd_buffer *buffer;
        dmabufd *d;

        if (order->what == ALLOCATE) {
            if (dmabufd_alloc(*first, 4096, 4096, &buffer) < 0)
                return false;
            continue;
        }
        if (dmabufd_connect(&d, NULL) < 0)
            return false;
        if (!*first)
            *first = d;
    }
    return true;
}

static void become_user(unsigned int number)
{
    uid_t user = FIRST_USER + number;

    if (geteuid() == 0 && (setgroups(0, NULL) < 0 || setresgid(user, user, user) < 0 ||
                           setresuid(user, user, user) < 0))
        _exit(1);
    /* The kernel forgets it when the user changes. */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
}

/* What it holds ends with it. */
__attribute__((noreturn)) static void be_member(int socket)
{
    dmabufd *first = NULL;
    struct order order;

    while (read(socket, &order, sizeof(order)) == sizeof(order)) {
        struct answer answer = { .done = obey(&order, &first) };

        if (!answer.done)
            snprintf(answer.why, sizeof(answer.why), "%s", dmabufd_last_error());
        if (write(socket, &answer, sizeof(answer)) != sizeof(answer))
            break;
    }
    _exit(0);
}

void crowd_start(struct crowd *crowd)
{
    for (int i = 0; i < CROWD_PROCESSES; i++) {
        int pair[2];

        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
            err(1, "socketpair");
        crowd->pids[i] = fork();
        if (crowd->pids[i] < 0)
            err(1, "fork");
        if (crowd->pids[i] == 0) {
            become_user((unsigned int)i);
            fd_close(&pair[0]);
            be_member(pair[1]);
        }
        fd_close(&pair[1]);
        crowd->sockets[i] = pair[0];
    }
}

/* All at once. */
static const char *command(struct crowd *crowd, const struct order *order)
{
    const char *why = NULL;

    for (int i = 0; i < CROWD_PROCESSES; i++) {
        /* One that has ended gives no answer below. */
        if (send(crowd->sockets[i], order, sizeof(*order), MSG_NOSIGNAL) < 0)
            warn("a process of the crowd");
    }
    for (int i = 0; i < CROWD_PROCESSES; i++) {
        struct answer answer = { .why = "a process of the crowd has ended" };

        if (read(crowd->sockets[i], &answer, sizeof(answer)) == sizeof(answer) && answer.done)
            continue;
        snprintf(crowd->why, sizeof(crowd->why), "%s", answer.why);
        why = crowd->why;
    }
    return why;
}

const char *crowd_connect(struct crowd *crowd, unsigned int count)
{
    struct order order = { .what = CONNECT, .count = count };

    return command(crowd, &order);
}

const char *crowd_allocate(struct crowd *crowd, unsigned int count)
{
    struct order order = { .what = ALLOCATE, .count = count };

    return command(crowd, &order);
}

void crowd_stop(struct crowd *crowd)
{
    for (int i = 0; i < CROWD_PROCESSES; i++) {
        if (crowd->pids[i] <= 0)
            continue;
        kill(crowd->pids[i], SIGKILL);
        waitpid(crowd->pids[i], NULL, 0);
        fd_close(&crowd->sockets[i]);
        crowd->pids[i] = 0;
    }
}
