/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A private daemon: a dmabufd of our own with a socket nobody else knows, for as long as one
 * command runs. It is started as systemd would start it: the listening socket is passed as
 * descriptor 3 (sd_listen_fds(3)), and it says when it is ready (sd_notify(3)).
 */
#ifndef CLIENT_CTL_DAEMON_H
#define CLIENT_CTL_DAEMON_H

#include <signal.h>
#include <stdbool.h>
#include <sys/types.h>

struct private_daemon {
    char directory[64];
    char socket[80]; /* for DMABUFD_SOCKET */
    char notify[80];
    int notify_fd;
    pid_t pid;        /* 0: not running */
    int wait_status;  /* after it ended, of waitpid(2) */
    char status[512]; /* the last STATUS= it sent */
    int error;        /* the last ERRNO= */
};

/** Not yet started; private_daemon_stop() is allowed on it. */
#define PRIVATE_DAEMON_NONE \
    {                       \
        .notify_fd = -1     \
    }

/**
 * private_daemon_start() - make socket and directory, start, wait until it is ready
 * @argv: of the daemon, argv[0] its path
 * @shared: other users may connect too
 * @signal_fd: signalfd(2) for SIGCHLD and the signals that make us give up
 * @mask: signal mask for the daemon
 *
 * Return: 0; -1 after it said why; or the number of the signal that came before it was ready.
 */
int private_daemon_start(struct private_daemon *daemon, char *const argv[], bool shared,
                         int signal_fd, const sigset_t *mask);

/** private_daemon_reap() - has it ended? Then says how, unless we asked it to. */
bool private_daemon_reap(struct private_daemon *daemon);

/**
 * private_daemon_stop() - end it if it runs, and remove the directory
 * Return: false if it had to be killed.
 */
bool private_daemon_stop(struct private_daemon *daemon, int signal_fd);

#endif
