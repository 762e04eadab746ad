/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Closer: closes descriptors that clients sent, on threads of its own, because close(2) of somebody
 * else's file can take for ever: a socket that lingers, a file of a FUSE server that does not answer.
 *
 * Also for the sockets of clients, which take what is unread with them.
 */
#ifndef DAEMON_CLOSER_H
#define DAEMON_CLOSER_H

/**
 * closer_start() - once in a process, after it gave up privilege; from now on wire_fds_close() works
 * this way. Return: 0 or a negative errno of pthread_create(3).
 */
int closer_start(void);

/**
 * closer_close() - close @fd, if that may block on another thread
 *
 * Memory files are closed at once: they cannot block, and there are many of them. Before
 * closer_start() everything is.
 */
void closer_close(int fd);

#endif
