/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A thread more whenever all are busy, up to a bound; what comes then waits in the queue. The
 * threads last as long as the process: one that hangs in the kernel cannot be ended anyway.
 */
#include "daemon/closer.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/log.h"
#include "proto/wire.h"

#define THREADS_MAX 32U

struct doomed {
    STAILQ_ENTRY(doomed) link;
    int fd;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t work = PTHREAD_COND_INITIALIZER;
static STAILQ_HEAD(, doomed) queue = STAILQ_HEAD_INITIALIZER(queue);
static unsigned int threads, idle;
static bool started;

/* A socket with SO_LINGER waits for its peer at its last close. */
static void close_slowly(int fd)
{
    const struct linger none = { 0 };

    setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof(none));
    close(fd);
}

static void *run(void *data)
{
    (void)data;
    pthread_mutex_lock(&lock);
    for (;;) {
        struct doomed *doomed;

        while (STAILQ_EMPTY(&queue)) {
            idle++;
            pthread_cond_wait(&work, &lock);
            idle--;
        }
        doomed = STAILQ_FIRST(&queue);
        STAILQ_REMOVE_HEAD(&queue, link);
        pthread_mutex_unlock(&lock);
        close_slowly(doomed->fd);
        free(doomed);
        pthread_mutex_lock(&lock);
    }
    return NULL;
}

/* Called with the lock held. */
static int start_thread(void)
{
    sigset_t all, old;
    pthread_t thread;
    int r;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    r = pthread_create(&thread, NULL, run, NULL);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (r != 0)
        return -r;
    pthread_detach(thread);
    threads++;
    return 0;
}

int closer_start(void)
{
    int r;

    pthread_mutex_lock(&lock);
    r = start_thread();
    started = r == 0;
    pthread_mutex_unlock(&lock);
    if (started)
        wire_close_with(closer_close);
    return r;
}

void closer_close(int fd)
{
    struct doomed *doomed = NULL;

    if (fd < 0)
        return;
    if (started && fcntl(fd, F_GET_SEALS) < 0)
        doomed = malloc(sizeof(*doomed));
    if (!doomed) {
        close(fd);
        return;
    }
    doomed->fd = fd;
    pthread_mutex_lock(&lock);
    STAILQ_INSERT_TAIL(&queue, doomed, link);
    if (idle > 0)
        pthread_cond_signal(&work);
    else if (threads < THREADS_MAX && start_thread() == 0 && threads == THREADS_MAX)
        log_warning("%u descriptors of clients do not close", THREADS_MAX - 1);
    pthread_mutex_unlock(&lock);
}
