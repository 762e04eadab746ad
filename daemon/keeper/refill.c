/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Keeping the pool full; see refill.h. */
#include "daemon/keeper/refill.h"

#include <errno.h>
#include <stdlib.h>

#include "common/cleanup.h"
#include "daemon/keeper/choice.h"
#include "daemon/keeper/release.h"
#include "daemon/keeper/service.h"
#include "daemon/log.h"

/* Of one set at a time: the next one begins while the last one is looked at. */
#define JOBS_MAX      2U
#define RETRY_SECONDS 1
#define SOON_US       1000

/* The pool takes its turns as a user of its own. */
static const struct party pool_party = { .uid = WIRE_NOBODY, .client = 0 };

static unsigned int smallest_class(const struct pool_set *set)
{
    return (unsigned int)pool_class(set->page_size);
}

/* Of which size the next file should be. Return: -1 none. */
static int next_class(const struct pool_set *set)
{
    uint64_t have = set->ready + set->making;
    uint64_t missing = set->target > have ? set->target - have : 0;
    unsigned int smallest = smallest_class(set);
    uint32_t mix[PROTO_POOL_CLASSES];
    int class = -1;

    if (missing < set->page_size)
        return -1;
    pool_mix(set->page_size, set->target, mix);
    for (unsigned int i = smallest; i <= set->bound; i++) {
        if (set->files[i] + set->making_files[i] >= mix[i] || pool_class_size(i) > missing)
            continue;
        class = (int)i;
        if (set->complete)
            break;
    }
    return class < 0 ? (int)smallest : class;
}

static int make(struct service *service, struct pool_set *set, unsigned int class)
{
    uint64_t size = pool_class_size(class);
    struct buffer *buffer = buffer_new();
    struct job *job = buffer ? job_new(JOB_BUILD, buffer, pool_party) : NULL;

    if (!job) {
        buffer_free(buffer);
        return -ENOMEM;
    }
    job->build = (struct build){
        .asked = size,
        .wanted = set->page_size,
        .constraints = { .flags = DMABUFD_NODE_STRICT, .node = set->node },
        .pooled = true,
        /* Later, clients are there who want the pages that a search would hold. */
        .choosy = !set->complete,
    };
    job->set = set;
    set->jobs++;
    set->making += size;
    set->making_files[class]++;
    service->pool.files++;
    LIST_INSERT_HEAD(&service->refill.jobs, job, client_link);
    service_submit(service, job);
    return 0;
}

static void make_more(struct service *service, struct pool_set *set)
{
    int class;

    /* Some of the pages are still on their way. */
    if (set->leaving > 0)
        return;
    while (!set->starved && set->jobs < JOBS_MAX && service->pool.files < service->pool.files_max &&
           (class = next_class(set)) >= 0) {
        if (make(service, set, (unsigned int)class) < 0)
            set->starved = true;
    }
    if (set->ready >= set->target)
        set->complete = true;
}

/* It is out of the pool. */
static void send_off(struct service *service, struct pool_set *set, struct buffer *buffer)
{
    buffer->leaving = set;
    set->leaving += buffer->size;
    service->pinned++;
    release_buffer(service, buffer, pool_party, NULL);
}

static void let_go_anywhere(struct service *service, struct pool_set *set, uint64_t bytes)
{
    struct choice choice = { 0 };

    if (choice_to_give_up(set, 0, bytes, NULL, &choice) < 0)
        choice.count = 0;
    pool_remove_all(&service->pool, set, choice.buffer, choice.count);
    for (size_t i = 0; i < choice.count; i++)
        send_off(service, set, choice.buffer[i]);
    choice_deinit(&choice);
}

/* So many files of this class, if there are so many. */
static void let_go_class(struct service *service, struct pool_set *set, unsigned int class,
                         uint64_t count)
{
    CLEANUP_FREE struct buffer **list = calloc(count ? count : 1, sizeof(struct buffer *));
    size_t n = 0;

    for (size_t at = set->count; list && n < count && at-- > 0;) {
        struct buffer *buffer = set->pieces[at].buffer;

        /* It may be several pieces. */
        if (buffer->size != pool_class_size(class) || buffer->chosen)
            continue;
        buffer->chosen = true;
        list[n++] = buffer;
    }
    for (size_t i = 0; i < n; i++)
        list[i]->chosen = false;
    pool_remove_all(&service->pool, set, list, n);
    for (size_t i = 0; i < n; i++)
        send_off(service, set, list[i]);
}

/* What there is too much of, by the mix of now, else what is missed least. */
static void let_go(struct service *service, struct pool_set *set, uint64_t bytes)
{
    uint32_t mix[PROTO_POOL_CLASSES];
    uint64_t end = set->ready - bytes;

    pool_mix(set->page_size, set->target, mix);
    for (unsigned int i = PROTO_POOL_CLASSES; i-- > 0;) {
        uint64_t surplus = set->files[i] > mix[i] ? set->files[i] - mix[i] : 0;
        uint64_t most = (set->ready - end) / pool_class_size(i);

        let_go_class(service, set, i, surplus < most ? surplus : most);
    }
    if (set->ready > end)
        let_go_anywhere(service, set, set->ready - end);
}

/* The largest class that there is too little of, if smaller ones that there is too much of make up for it. */
static int class_to_exchange(const struct pool_set *set, const uint32_t mix[PROTO_POOL_CLASSES])
{
    for (int i = PROTO_POOL_CLASSES - 1; i > 0; i--) {
        uint64_t surplus = 0;

        if (set->files[i] >= mix[i])
            continue;
        for (int j = 0; j < i; j++)
            surplus += set->files[j] > mix[j]
                           ? (set->files[j] - mix[j]) * pool_class_size((unsigned int)j)
                           : 0;
        if (surplus >= pool_class_size((unsigned int)i))
            return i;
    }
    return -1;
}

/* When pages were missing, smaller files were made than there should be. */
static void exchange(struct service *service, struct pool_set *set)
{
    uint32_t mix[PROTO_POOL_CLASSES];
    uint64_t missing;

    if (set->settled || set->starved || set->jobs > 0 || set->leaving > 0)
        return;
    set->settled = true;
    pool_mix(set->page_size, set->target, mix);
    set->wanted = class_to_exchange(set, mix);
    if (set->wanted < 0)
        return;
    missing = pool_class_size((unsigned int)set->wanted);
    for (unsigned int i = (unsigned int)set->wanted; missing > 0 && i-- > 0;) {
        uint64_t surplus = set->files[i] > mix[i] ? set->files[i] - mix[i] : 0;
        uint64_t needed = missing / pool_class_size(i);
        uint32_t count = (uint32_t)(surplus < needed ? surplus : needed);

        missing -= count * pool_class_size(i);
        let_go_class(service, set, i, count);
    }
}

static bool is_starved(const struct pool *pool)
{
    for (uint32_t i = 0; i < pool->set_count; i++) {
        if (pool->sets[i].starved && pool->sets[i].ready < pool->sets[i].target)
            return true;
    }
    return false;
}

void refill_kick(struct service *service)
{
    static const struct timeval retry = { .tv_sec = RETRY_SECONDS };

    if (service->ending)
        return;
    for (uint32_t i = 0; i < service->pool.set_count; i++) {
        struct pool_set *set = &service->pool.sets[i];

        if (set->ready > set->target)
            let_go(service, set, set->ready - set->target);
        else if (set->held_back == 0)
            make_more(service, set);
        if (set->ready == set->target)
            exchange(service, set);
    }
    if (is_starved(&service->pool) && !event_pending(service->refill.retry, EV_TIMEOUT, NULL))
        event_add(service->refill.retry, &retry);
}

static void on_soon(evutil_socket_t fd, short what, void *data)
{
    (void)fd;
    (void)what;
    refill_kick(data);
}

void refill_soon(struct service *service)
{
    static const struct timeval soon = { .tv_usec = SOON_US };

    if (!event_pending(service->refill.soon, EV_TIMEOUT, NULL))
        event_add(service->refill.soon, &soon);
}

static void feed(struct pool_set *set)
{
    set->starved = false;
    set->settled = false;
    set->bound = PROTO_POOL_CLASSES - 1;
}

static void on_retry(evutil_socket_t fd, short what, void *data)
{
    struct service *service = data;

    (void)fd;
    (void)what;
    for (uint32_t i = 0; i < service->pool.set_count; i++) {
        struct pool_set *set = &service->pool.sets[i];
        const struct placement there = { .rule = DMABUFD_NODE_STRICT, .node = set->node };

        if (set->starved &&
            memory_huge_free(service->memory, &there, set->page_size) >= set->page_size)
            feed(set);
    }
    refill_kick(service);
}

void refill_pages_back(struct service *service, uint64_t page_size)
{
    for (uint32_t i = 0; i < service->pool.set_count; i++) {
        if (service->pool.sets[i].page_size == page_size)
            feed(&service->pool.sets[i]);
    }
    refill_kick(service);
}

void refill_let_go(struct service *service, struct pool_set *set, uint64_t bytes)
{
    set->leaving -= bytes;
    refill_kick(service);
}

/* Smaller files may still be possible. */
static void starve(struct pool_set *set, unsigned int class, const struct fault *fault)
{
    bool out_of_pages =
        fault->code == DMABUFD_CODE_NO_HUGE_PAGES || fault->code == DMABUFD_CODE_NO_MEMORY;

    if (out_of_pages && class > smallest_class(set)) {
        set->bound = class - 1 < set->bound ? class - 1 : set->bound;
        return;
    }
    set->starved = true;
    if (!out_of_pages && !set->told)
        log_warning("the pool cannot be filled with pages of %llu KiB on node %u: %s",
                    (unsigned long long)(set->page_size >> 10), set->node, fault->text);
    set->told |= !out_of_pages;
}

void refill_done(struct service *service, struct job *job)
{
    unsigned int class = (unsigned int)pool_class(job->build.asked);
    struct pool_set *set = job->set;
    struct buffer *buffer = job->buffer;

    LIST_REMOVE(job, client_link);
    set->jobs--;
    set->making -= job->build.asked;
    set->making_files[class]--;
    service->pool.files--;
    if (job->failed) {
        if (!atomic_load(&job->cancelled))
            starve(set, class, &job->fault);
        if (buffer->fd >= 0)
            release_keep(service, buffer, "they cannot be unpinned after they were made");
        else
            buffer_free(buffer);
    } else if (service->ending || pool_add(&service->pool, set, buffer) < 0) {
        service->pinned++;
        release_buffer(service, buffer, pool_party, NULL);
    } else {
        set->refilled += buffer->size;
        /* One exchange after the other, as long as they work. */
        if ((int)class == set->wanted)
            set->settled = false;
        set->told = false;
    }
    refill_kick(service);
}

int refill_resize(struct service *service, struct pool_set *set, uint64_t bytes,
                  struct fault *fault)
{
    uint32_t mix[PROTO_POOL_CLASSES];
    uint64_t files = 0;

    if (service->ending)
        return fault_set(fault, DMABUFD_CODE_SHUTTING_DOWN, ESHUTDOWN, "the daemon is ending");
    if (bytes > service->memory->max_size)
        return fault_set(fault, DMABUFD_CODE_TOO_LARGE, E2BIG,
                         "a pool of %llu MiB is more than this host's memory (%llu MiB)",
                         (unsigned long long)(bytes >> 20),
                         (unsigned long long)(service->memory->max_size >> 20));
    pool_mix(set->page_size, bytes, mix);
    for (unsigned int i = 0; i < PROTO_POOL_CLASSES; i++)
        files += mix[i];
    for (uint32_t i = 0; i < service->pool.set_count; i++) {
        if (&service->pool.sets[i] == set)
            continue;
        pool_mix(service->pool.sets[i].page_size, service->pool.sets[i].target, mix);
        for (unsigned int j = 0; j < PROTO_POOL_CLASSES; j++)
            files += mix[j];
    }
    if (files > service->pool.files_max)
        return fault_set(fault, DMABUFD_CODE_LIMIT, EMFILE,
                         "the pool would be %llu files, and the daemon's limit of descriptors "
                         "allows %u: make it smaller or raise its LimitNOFILE=",
                         (unsigned long long)files, service->pool.files_max);
    set->target = bytes;
    set->complete = set->told = false;
    feed(set);
    refill_kick(service);
    return 0;
}

void refill_stop(struct service *service)
{
    struct job *job;

    LIST_FOREACH (job, &service->refill.jobs, client_link)
        atomic_store(&job->cancelled, true);
    for (uint32_t i = 0; i < service->pool.set_count; i++) {
        struct pool_set *set = &service->pool.sets[i];

        set->target = 0;
        let_go(service, set, set->ready);
    }
}

int refill_init(struct service *service, struct fault *fault)
{
    service->refill = (struct refill){ .retry = evtimer_new(service->base, on_retry, service),
                                       .soon = evtimer_new(service->base, on_soon, service) };
    return service->refill.retry && service->refill.soon
               ? 0
               : fault_set(fault, DMABUFD_CODE_NO_MEMORY, ENOMEM, "out of memory");
}

void refill_deinit(struct service *service)
{
    if (service->refill.retry)
        event_free(service->refill.retry);
    if (service->refill.soon)
        event_free(service->refill.soon);
    service->refill = (struct refill){ 0 };
}
