/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The peer's process, seen from outside; see peer.h. */
#include "bench/peer.h"

#include <err.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/cleanup.h"

#define LOST "the peer's process has ended"

static bool read_all(int fd, void *data, size_t size)
{
    return recv(fd, data, size, MSG_WAITALL) == (ssize_t)size;
}

__attribute__((noreturn)) static void become(const char *program, int socket)
{
    char number[16];

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    /* Its library prints; our output is a report. dup2() onto itself would leave it close-on-exec. */
    dup2(STDERR_FILENO, STDOUT_FILENO);
    snprintf(number, sizeof(number), "%d", dup(socket));
    execl(program, program, number, (char *)NULL);
    _exit(127);
}

/* It sends an answer to nothing when it is ready. */
static const char *await_answer(struct peer *peer, struct samples *samples)
{
    struct peer_answer answer;

    if (!read_all(peer->socket, &answer, sizeof(answer))) {
        snprintf(peer->why, sizeof(peer->why), "none (" LOST ")");
        peer_stop(peer);
        return LOST;
    }
    for (size_t i = 0; i < answer.count; i++) {
        double value;

        if (!read_all(peer->socket, &value, sizeof(value)))
            errx(1, LOST);
        if (samples)
            samples_add(samples, value);
    }
    if (!*answer.why)
        return NULL;
    answer.why[sizeof(answer.why) - 1] = '\0';
    snprintf(peer->why, sizeof(peer->why), "%s", answer.why);
    return peer->why;
}

void peer_start(struct peer *peer, const char *program)
{
    int pair[2];

    *peer = (struct peer)PEER_NONE;
    if (!program) {
        snprintf(peer->why, sizeof(peer->why), "none (no DPDK, or not root)");
        return;
    }
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        err(1, "socketpair");
    peer->pid = fork();
    if (peer->pid < 0)
        err(1, "fork");
    if (peer->pid == 0)
        become(program, pair[1]);
    fd_close(&pair[1]);
    peer->socket = pair[0];
    if (await_answer(peer, NULL)) {
        char why[sizeof(peer->why)];

        snprintf(why, sizeof(why), "none (%.190s)", peer->why);
        peer_stop(peer);
        memcpy(peer->why, why, sizeof(why));
    }
}

const char *peer_order(struct peer *peer, const struct peer_order *order, struct samples *samples)
{
    if (!peer_is_there(peer))
        return peer->why;
    if (send(peer->socket, order, sizeof(*order), MSG_NOSIGNAL) != sizeof(*order))
        return LOST;
    return await_answer(peer, samples);
}

void peer_stop(struct peer *peer)
{
    if (peer->pid <= 0)
        return;
    fd_close(&peer->socket);
    kill(peer->pid, SIGKILL);
    waitpid(peer->pid, NULL, 0);
    peer->pid = 0;
}
