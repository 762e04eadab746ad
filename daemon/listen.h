/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Listen: the daemon's socket, from systemd or made here. */
#ifndef DAEMON_LISTEN_H
#define DAEMON_LISTEN_H

#include <stdbool.h>

#include "common/fault.h"
#include "daemon/options.h"

struct listen_socket {
    int fd;     /* listening, non-blocking, close-on-exec */
    char *path; /* made here, to be removed at the end; NULL if it is systemd's */
};

/**
 * listen_open() - the socket of the socket unit, or one at the path of the options
 * Return: 0, or a negative errno with @fault: -EADDRINUSE if another daemon serves there.
 */
int listen_open(const struct options *options, struct listen_socket *ret, struct fault *fault);

/** listen_close() - close, and remove what was made here. */
void listen_close(struct listen_socket *listen);

#endif
