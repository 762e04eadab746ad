/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What waits is kept by user and kind, and each of these has few threads at once; so have all users
 * together. One user's descriptors that hang take the threads of that user and kind.
 *
 * - Sockets wait for nobody but a peer, and a signal ends that: a thread that is busy for long is
 *   sent SIGUSR1, again after twice the time, since one that comes too early changes nothing. A
 *   socket inside a socket (unread there) is closed on the same thread, by the kernel; it cannot be
 *   told from here not to linger. Nor is that tried with those that can: a setsockopt(2) would wait
 *   for whoever holds the lock of the socket, and no signal ends that.
 * - Memory waits for nobody. One thread a user, so that large memory does not take the others'.
 * - Other files may wait for ever. Honest clients send none, the keeper is given none (presented.h),
 *   and who has many here is not read from meanwhile (channel.c).
 *
 * Not bounded: a file of FUSE with its writeback cache hangs even if nobody ever read it from the
 * socket. It holds a thread of its user's for sockets, and each connection of that user that ends
 * then holds a descriptor. Hence closer_stuck(), which counts against the user's connections.
 *
 * The threads last as long as the process: one that hangs in the kernel cannot be ended anyway.
 */
#include "daemon/closer.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/memfd.h"
#include "daemon/log.h"
#include "proto/wire.h"

enum kind { SOCKETS, FILES, MEMORY, KINDS };

/* Threads at once. */
static const struct {
    unsigned int of_user, of_all;
    const char *what;
} most[KINDS] = {
    [SOCKETS] = { 16, 64, "sockets" }, [FILES] = { 8, 64, "files" }, [MEMORY] = { 1, 8, "memory" }
};

#define THREADS_MAX 136U

/* A thread runs a few functions of ours and the kernel. */
#define STACK_SIZE ((size_t)256 << 10)

/* Memory that is given back in less than a millisecond or so, in units of 512 bytes. */
#define BLOCKS_AT_ONCE ((8 << 20) / 512)

#define INTERRUPT_NS (10 * NS_PER_MS)
#define STUCK_NS     NS_PER_S
#define WARN_NS      (60 * NS_PER_S)

struct doomed {
    STAILQ_ENTRY(doomed) link;
    int fd;
};

/* The descriptors of one user and kind. Gone when there are none. */
struct group {
    TAILQ_ENTRY(group) link;
    uint32_t owner;
    enum kind kind;
    unsigned int waiting, busy;
    STAILQ_HEAD(, doomed) queue;
};

struct worker {
    pthread_t thread;
    struct group *group; /* of what it closes; NULL: it waits for work */
    uint64_t since, interrupt_at;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t work = PTHREAD_COND_INITIALIZER;
static pthread_cond_t watch; /* of the monotonic clock */
static TAILQ_HEAD(, group) groups = TAILQ_HEAD_INITIALIZER(groups);
static struct worker workers[THREADS_MAX];
static unsigned int threads, idle, busy[KINDS];
static uint64_t watch_until = UINT64_MAX;
static atomic_uint files; /* how many are here, of all users */
static atomic_bool started;

/* What follows, up to the functions of the header, is called with the lock held. */

static struct group *group_of(uint32_t owner, enum kind kind)
{
    struct group *group;

    TAILQ_FOREACH (group, &groups, link) {
        if (group->owner == owner && group->kind == kind)
            return group;
    }
    return NULL;
}

static struct group *group_new(uint32_t owner, enum kind kind)
{
    struct group *group = calloc(1, sizeof(*group));

    if (!group)
        return NULL;
    group->owner = owner;
    group->kind = kind;
    STAILQ_INIT(&group->queue);
    TAILQ_INSERT_TAIL(&groups, group, link);
    return group;
}

/* The next whose turn it is, NULL if none may have a thread. */
static struct group *runnable(void)
{
    struct group *group;

    TAILQ_FOREACH (group, &groups, link) {
        if (group->waiting > 0 && group->busy < most[group->kind].of_user &&
            busy[group->kind] < most[group->kind].of_all)
            return group;
    }
    return NULL;
}

static void *run(void *data);

/* With all signals blocked. */
static int start_thread(pthread_t *ret, void *(*function)(void *data), void *data)
{
    pthread_attr_t attributes;
    sigset_t all, old;
    int r = pthread_attr_init(&attributes);

    if (r != 0)
        return -r;
    pthread_attr_setstacksize(&attributes, STACK_SIZE);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    r = pthread_create(ret, &attributes, function, data);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_attr_destroy(&attributes);
    return -r;
}

static int start_worker(void)
{
    struct worker *worker = &workers[threads];
    int r = start_thread(&worker->thread, run, worker);

    if (r == 0)
        threads++;
    return r;
}

/* Each that takes something calls the next, so an idle thread that was woken twice loses nothing. */
static void call_worker(void)
{
    if (!runnable())
        return;
    if (idle > 0)
        pthread_cond_signal(&work);
    else if (threads < THREADS_MAX)
        (void)start_worker();
}

/* Not for each that a user sends. */
static void warn(const struct group *group)
{
    static uint64_t again_at;
    uint64_t now = now_ns();

    if (busy[group->kind] < most[group->kind].of_all || now < again_at)
        return;
    again_at = now + WARN_NS;
    log_warning("all %u threads that close %s of clients are busy, one of user %u now",
                most[group->kind].of_all, most[group->kind].what, (unsigned int)group->owner);
}

static struct doomed *take(struct worker *worker, struct group *group)
{
    struct doomed *doomed = STAILQ_FIRST(&group->queue);

    STAILQ_REMOVE_HEAD(&group->queue, link);
    group->waiting--;
    group->busy++;
    busy[group->kind]++;
    TAILQ_REMOVE(&groups, group, link);
    TAILQ_INSERT_TAIL(&groups, group, link);
    worker->group = group;
    worker->since = now_ns();
    warn(group);
    worker->interrupt_at = worker->since + INTERRUPT_NS;
    if (worker->interrupt_at < watch_until)
        pthread_cond_signal(&watch);
    return doomed;
}

static void done(struct worker *worker)
{
    struct group *group = worker->group;

    worker->group = NULL;
    group->busy--;
    busy[group->kind]--;
    if (group->kind == FILES)
        atomic_fetch_sub(&files, 1);
    if (group->busy > 0 || group->waiting > 0)
        return;
    TAILQ_REMOVE(&groups, group, link);
    free(group);
}

static void *run(void *data)
{
    struct worker *worker = data;
    sigset_t interrupt;

    sigemptyset(&interrupt);
    sigaddset(&interrupt, SIGUSR1);
    pthread_sigmask(SIG_UNBLOCK, &interrupt, NULL);
    pthread_mutex_lock(&lock);
    for (;;) {
        struct doomed *doomed;
        struct group *group;

        while (!(group = runnable())) {
            idle++;
            pthread_cond_wait(&work, &lock);
            idle--;
        }
        doomed = take(worker, group);
        call_worker();
        pthread_mutex_unlock(&lock);
        close(doomed->fd);
        free(doomed);
        pthread_mutex_lock(&lock);
        done(worker);
    }
    return NULL;
}

/* Return: when to look again. */
static uint64_t interrupt_busy(void)
{
    uint64_t now = now_ns(), next = UINT64_MAX;

    for (unsigned int i = 0; i < threads; i++) {
        struct worker *worker = &workers[i];

        if (!worker->group)
            continue;
        if (worker->interrupt_at <= now) {
            pthread_kill(worker->thread, SIGUSR1);
            worker->interrupt_at = now + (now - worker->since);
        }
        if (worker->interrupt_at < next)
            next = worker->interrupt_at;
    }
    return next;
}

static void *run_watch(void *data)
{
    (void)data;
    pthread_mutex_lock(&lock);
    for (;;) {
        struct timespec until;

        watch_until = interrupt_busy();
        until.tv_sec = (time_t)(watch_until / NS_PER_S);
        until.tv_nsec = (long)(watch_until % NS_PER_S);
        if (watch_until == UINT64_MAX)
            pthread_cond_wait(&watch, &lock);
        else
            pthread_cond_timedwait(&watch, &lock, &until);
    }
    return NULL;
}

static void on_interrupt(int signal)
{
    (void)signal;
}

static int set_up_signal(void)
{
    /* No SA_RESTART: it is there to interrupt. */
    const struct sigaction action = { .sa_handler = on_interrupt };

    return sigaction(SIGUSR1, &action, NULL) < 0 ? -errno : 0;
}

static int set_up_watch(void)
{
    pthread_condattr_t attributes;
    pthread_t thread;
    int r = pthread_condattr_init(&attributes);

    if (r != 0)
        return -r;
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    r = pthread_cond_init(&watch, &attributes);
    pthread_condattr_destroy(&attributes);
    return r != 0 ? -r : start_thread(&thread, run_watch, NULL);
}

int closer_start(void)
{
    int r = set_up_signal();

    pthread_mutex_lock(&lock);
    if (r == 0)
        r = set_up_watch();
    if (r == 0)
        r = start_worker();
    pthread_mutex_unlock(&lock);
    if (r < 0)
        return r;
    atomic_store(&started, true);
    wire_close_with(closer_close);
    return 0;
}

/* Asks no file system that could let us wait, hence no fstat(2) of what is not memory. */
static enum kind kind_of(int fd, bool *ret_at_once)
{
    socklen_t length = sizeof(int);
    struct stat st;
    int type;

    *ret_at_once = false;
    if (memfd_is_memory(fd)) {
        *ret_at_once = fstat(fd, &st) == 0 && st.st_blocks <= BLOCKS_AT_ONCE;
        return MEMORY;
    }
    return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) == 0 ? SOCKETS : FILES;
}

static bool enqueue(int fd, uint32_t owner, enum kind kind)
{
    struct doomed *doomed = malloc(sizeof(*doomed));
    struct group *group;

    if (!doomed)
        return false;
    doomed->fd = fd;
    pthread_mutex_lock(&lock);
    group = group_of(owner, kind);
    if (!group)
        group = group_new(owner, kind);
    if (group) {
        STAILQ_INSERT_TAIL(&group->queue, doomed, link);
        group->waiting++;
        if (kind == FILES)
            atomic_fetch_add(&files, 1);
        call_worker();
    }
    pthread_mutex_unlock(&lock);
    if (!group)
        free(doomed);
    return group != NULL;
}

void closer_close(int fd, uint32_t owner)
{
    bool at_once;
    enum kind kind;

    if (fd < 0)
        return;
    kind = kind_of(fd, &at_once);
    if (at_once || !atomic_load(&started) || !enqueue(fd, owner, kind))
        close(fd);
}

bool closer_is_full(uint32_t owner)
{
    const struct group *group;
    bool full;

    if (atomic_load(&files) <= CLOSER_FILES_MAX)
        return false;
    pthread_mutex_lock(&lock);
    group = group_of(owner, FILES);
    full = group && group->waiting + group->busy > CLOSER_FILES_MAX;
    pthread_mutex_unlock(&lock);
    return full;
}

static unsigned int stuck_in(const struct group *group, uint64_t now)
{
    unsigned int count = 0;

    for (unsigned int i = 0; i < threads; i++)
        count += workers[i].group == group && now - workers[i].since >= STUCK_NS;
    return count < most[group->kind].of_user ? count : count + group->waiting;
}

unsigned int closer_stuck(uint32_t owner)
{
    const struct group *group;
    unsigned int count = 0;
    uint64_t now;

    pthread_mutex_lock(&lock);
    now = now_ns();
    TAILQ_FOREACH (group, &groups, link) {
        if (group->owner == owner && group->kind != MEMORY)
            count += stuck_in(group, now);
    }
    pthread_mutex_unlock(&lock);
    return count;
}
