/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Closer: closes descriptors that clients sent, and the sockets of clients with what is unread in
 * them, on threads of its own, because close(2) of somebody else's file can take for ever: a socket
 * that lingers, a file of a FUSE server that does not answer. Memory that is large takes long, too.
 *
 * It knows whose descriptor each is, so that what hangs hurts nobody but its user. What a user who
 * has too much of it may still do is the caller's to decide.
 */
#ifndef DAEMON_CLOSER_H
#define DAEMON_CLOSER_H

#include <stdbool.h>
#include <stdint.h>

/** Files, other than memory and sockets, that a user can have here and still be read from. */
#define CLOSER_FILES_MAX 64U

/**
 * closer_start() - once in a process, after it gave up privilege; from now on wire_fds_close() works
 * this way, and SIGUSR1 does nothing but interrupt. Return: 0 or a negative errno of
 * pthread_create(3) or sigaction(2).
 */
int closer_start(void);

/**
 * closer_close() - close @fd, if that may take long on another thread
 * @owner: the user it came from, or WIRE_NOBODY
 *
 * Memory files of little memory are closed at once: they cannot block, and there are many of them.
 * Before closer_start() everything is. From any thread.
 */
void closer_close(int fd, uint32_t owner);

/**
 * closer_is_full() - does @owner have more than CLOSER_FILES_MAX files here
 *
 * Whoever reads what it sent then may get more of them: better wait, or end it if some are stuck.
 * What stays unread is no descriptor, and the end of its socket asks no file whether it may be
 * closed. Cheap; from any thread.
 */
bool closer_is_full(uint32_t owner);

/**
 * closer_stuck() - how many sockets and files of @owner do not close
 * Return: the ones that were tried for a second or longer, and those behind them that have no thread
 * because of that. From any thread.
 */
unsigned int closer_stuck(uint32_t owner);

#endif
