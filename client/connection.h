/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Connection: the state behind a dmabufd handle, shared by the files of the library.
 *
 *   dmabufd_connect, _disconnect, _get_info      connection.c
 *   one request and its reply, and the end       call.c
 *   what the reply says                          reply.c
 *   buffers held through it                      buffer.c
 *   of several memfds                            chunks.c
 *   what may be mapped                           inspect.c
 *   what happens unasked                         event.c
 *   where they are mapped, what they translate   arena.c
 *   what a forked child must not do              registry.c
 *   the daemon's pool                            pool.c
 *   objects in buffers                           heap*.c, on top of all this
 *
 * Locks, in the order in which they may be taken: the registry's, then one connection's, then that
 * connection's arena's. None is held across a call that can block.
 */
#ifndef CLIENT_CONNECTION_H
#define CLIENT_CONNECTION_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "client/api.h"
#include "client/arena.h"
#include "client/reply.h"
#include "common/cleanup.h"

struct call;

/** What the program has not been told yet; see event.h. */
struct events {
    int fd;           /* the program's to poll; -1: it never asked for one */
    int bell;         /* makes it readable, for what is not in the socket; -1 with fd */
    bool ending;      /* the daemon said that it ends */
    bool ending_told; /* and the program knows */
    bool lost_told;   /* the program knows of dmabufd::dead */
    bool turned_away; /* a dispatch left the socket to the thread that reads */
};

/* A thread that was cancelled in the library would leave its stack in a list, or a descriptor,
 * behind: every public function that can block begins with this. */
#define NO_CANCELLATION                                                            \
    __attribute__((unused)) CLEANUP(cancellation_restore) int cancellation_state = \
        cancellation_disable()

static inline int cancellation_disable(void)
{
    int state;

    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
    return state;
}

static inline void cancellation_restore(int *state)
{
    pthread_setcancelstate(*state, NULL);
}

struct dmabufd {
    struct arena arena; /* first: a translation touches the first cache line */

    struct reply_hello hello; /* constant after connect */

    pthread_mutex_t lock;    /* of everything from here on */
    pthread_cond_t room;     /* fewer requests in flight than before, or the end */
    int sock;                /* until disconnect; -1 in a forked child */
    bool dead;               /* no message can be sent or received any more, because: */
    struct fault death;      /* its error is EPROTO or ENOTCONN */
    bool reading;            /* a thread is in recvmsg(2) for all, and owns rx and scratch */
    uint64_t last_id;        /* of a request */
    uint32_t in_flight;      /* requests that have no reply yet */
    LIST_HEAD(, call) calls; /* their callers */
    LIST_HEAD(, dmabufd_buffer) buffers;
    LIST_HEAD(, dmabufd_buffer) told; /* revoked, and the program knows */
    bool reset;                       /* recvmsg(2) has reported ECONNRESET */
    struct events events;
    LIST_ENTRY(dmabufd) registered; /* registry.c */

    unsigned char rx[PROTO_REPLY_MAX];
    struct message_arena scratch;
};

#endif
