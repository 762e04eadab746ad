/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fork() and connections; see registry.h.
 *
 * All locks are taken before the fork and given back after it on both sides, so that the child
 * finds consistent lists and can disconnect. Its threads that waited for a reply do not exist any
 * more, nor do their stacks: the lists of calls and the condition variables start anew.
 */
#include "client/registry.h"

#include <errno.h>
#include <sys/socket.h>

#include "client/event.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static LIST_HEAD(, dmabufd) connections = LIST_HEAD_INITIALIZER(connections);
static pthread_once_t once = PTHREAD_ONCE_INIT;
static int once_result;

static void before_fork(void)
{
    dmabufd *d;

    pthread_mutex_lock(&lock);
    LIST_FOREACH (d, &connections, registered) {
        pthread_mutex_lock(&d->lock);
        pthread_mutex_lock(&d->arena.lock);
    }
}

static void unlock_all(void)
{
    dmabufd *d;

    LIST_FOREACH (d, &connections, registered) {
        pthread_mutex_unlock(&d->arena.lock);
        pthread_mutex_unlock(&d->lock);
    }
    pthread_mutex_unlock(&lock);
}

static void in_child(void)
{
    dmabufd *d;

    LIST_FOREACH (d, &connections, registered) {
        fd_close(&d->sock);
        event_close(d);
        if (!d->dead)
            fault_set(&d->death, DMABUFD_CODE_OK, ENOTCONN,
                      "it belongs to the parent of this process: a child connects for itself");
        d->dead = true;
        d->reading = false;
        d->in_flight = 0;
        LIST_INIT(&d->calls);
        pthread_cond_init(&d->room, NULL);
    }
    unlock_all();
}

static void register_handlers(void)
{
    once_result = -pthread_atfork(before_fork, unlock_all, in_child);
}

int registry_open_socket(dmabufd *d)
{
    int r = 0;

    pthread_once(&once, register_handlers);
    if (once_result < 0)
        return once_result;
    pthread_mutex_lock(&lock);
    d->sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (d->sock < 0)
        r = -errno;
    else
        LIST_INSERT_HEAD(&connections, d, registered);
    pthread_mutex_unlock(&lock);
    return r;
}

void registry_close_socket(dmabufd *d)
{
    pthread_mutex_lock(&lock);
    LIST_REMOVE(d, registered);
    fd_close(&d->sock);
    event_close(d);
    pthread_mutex_unlock(&lock);
}
