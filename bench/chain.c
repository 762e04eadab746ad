/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Echo and relay processes; see chain.h. */
#include "bench/chain.h"

#include <err.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define MESSAGE_SIZE 64

static void make_pair(int pair[2])
{
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        err(1, "socketpair");
}

void chain_echo(const void *data, int previous, int next)
{
    unsigned char message[MESSAGE_SIZE];

    (void)data;
    for (;;) {
        ssize_t n = recv(previous, message, sizeof(message), 0);

        if (n > 0 && next >= 0) {
            send(next, message, (size_t)n, MSG_NOSIGNAL);
            n = recv(next, message, sizeof(message), 0);
        }
        if (n <= 0 || send(previous, message, (size_t)n, MSG_NOSIGNAL) != n)
            return;
    }
}

void chain_start(struct chain *chain, unsigned int hops, chain_serve *serve, const void *data,
                 const struct placement *placement, enum place place)
{
    int near[2], far[2] = { -1, -1 };

    *chain = (struct chain){ .socket = -1 };
    make_pair(near);
    chain->socket = near[0];
    for (unsigned int i = 0; i < hops; i++) {
        if (i + 1 < hops)
            make_pair(far);
        else
            far[0] = far[1] = -1;
        chain->pids[i] = fork();
        if (chain->pids[i] < 0)
            err(1, "fork");
        if (chain->pids[i] == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            placement_enter_peer(placement, place);
            serve(data, near[1], far[0]);
            _exit(0);
        }
        fd_close(&near[1]);
        fd_close(&far[0]);
        near[1] = far[1];
    }
}

void chain_trip(const struct chain *chain)
{
    unsigned char message[MESSAGE_SIZE] = { 0 };

    if (send(chain->socket, message, sizeof(message), MSG_NOSIGNAL) < 0 ||
        recv(chain->socket, message, sizeof(message), 0) != sizeof(message))
        err(1, "chain of processes");
}

void chain_stop(struct chain *chain)
{
    for (unsigned int i = 0; i < CHAIN_HOPS_MAX; i++) {
        if (chain->pids[i] <= 0)
            continue;
        kill(chain->pids[i], SIGKILL);
        waitpid(chain->pids[i], NULL, 0);
        chain->pids[i] = 0;
    }
    fd_close(&chain->socket);
}
