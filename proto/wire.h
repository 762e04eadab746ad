/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Wire: one datagram with its file descriptors, in and out. The only place that calls sendmsg(2)
 * and recvmsg(2); daemon, library and the keeper's link all go through it.
 *
 * Descriptors belong to their message: a receiver takes the ones it wants, and wire_fds_close()
 * closes the rest on every path. Nothing here looks at the bytes.
 */
#ifndef PROTO_WIRE_H
#define PROTO_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/cleanup.h"
#include "proto/limits.h"

/** The descriptors of one message. Start from WIRE_FDS_NONE. */
struct wire_fds {
    int fd[PROTO_FDS_MAX]; /* -1 where taken */
    size_t count;
    uint32_t owner; /* who sent them, for wire_close_with(); wire_recv() leaves it as it is */
    bool ours;      /* this project's own memory files: closing a copy takes no time */
    bool lost;      /* there were some, but this process has no room for them (wire_recv_lossy()) */
};

#define WIRE_FDS_NONE WIRE_FDS_OF(WIRE_NOBODY)

/** The same, before what a user sent is received. */
#define WIRE_FDS_OF(user)                                     \
    {                                                         \
        .fd = { -1, -1, -1, -1 }, .count = 0, .owner = (user) \
    }

/** No user in particular. */
#define WIRE_NOBODY UINT32_MAX

/**
 * wire_close_with() - how to close descriptors of messages from now on, in this process
 *
 * @function: gets the descriptor and who sent it
 *
 * A daemon that receives descriptors of strangers must not close them on a thread it needs.
 */
void wire_close_with(void (*function)(int fd, uint32_t owner));

/** Close what was not taken; safe to repeat. */
void wire_fds_close(struct wire_fds *fds);

/** Take the descriptor at @index out of the message: now the caller's. -1 if there is none. */
int wire_fds_take(struct wire_fds *fds, size_t index);

/** Put a descriptor in; owned by @fds from now on. Return: 0, or -EMFILE (and @fd closed). */
int wire_fds_put(struct wire_fds *fds, int fd);

#define CLEANUP_FDS CLEANUP(wire_fds_close)

/**
 * wire_send() - send one datagram
 * @sock: SOCK_SEQPACKET socket
 * @data, @size: the bytes, at least 1
 * @fds: sent along and left to the caller, or NULL
 *
 * Never raises SIGPIPE; blocks only if the socket does.
 *
 * Return: 0 or a negative errno of sendmsg(2): -EAGAIN when the peer's queue is full, -EPIPE or
 * -ECONNRESET when it is gone, -ETOOMANYREFS when too many descriptors of this user are in flight.
 */
int wire_send(int sock, const void *data, size_t size, const struct wire_fds *fds);

/**
 * wire_recv() - receive one datagram
 * @data, @capacity: where to put it
 * @ret_fds: the descriptors, close-on-exec, owned by the caller; must be empty on entry
 *
 * Return: number of bytes (> 0); 0 at the end of the connection; -EAGAIN on a non-blocking socket
 * without a message; -EMSGSIZE if the datagram was longer than @capacity, had more than
 * PROTO_FDS_MAX descriptors, or some of them could not be installed (the process is out of
 * descriptors) - then nothing was kept and the connection should end; -EBADMSG for an empty
 * datagram that carried descriptors; else a negative errno of recvmsg(2).
 */
ssize_t wire_recv(int sock, void *data, size_t capacity, struct wire_fds *ret_fds);

/**
 * wire_recv_lossy() - wire_recv() for a receiver whose connection must outlive a shortage of its own
 * @ret_fds: empty, with lost set, if the message had descriptors that could not be installed in
 *           this process; the bytes are whole
 */
ssize_t wire_recv_lossy(int sock, void *data, size_t capacity, struct wire_fds *ret_fds);

/** wire_try_recv_lossy() - the same, but never waits: -EAGAIN if there is no message. */
ssize_t wire_try_recv_lossy(int sock, void *data, size_t capacity, struct wire_fds *ret_fds);

/**
 * wire_unread() - bytes (and overhead) that the peer has not read yet
 * Return: 0 when it has read everything, else a positive number or a negative errno.
 */
int wire_unread(int sock);

#endif
