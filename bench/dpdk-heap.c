/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* rte_malloc() and rte_free(), of objects and of whole huge pages; see dpdk.h. */
#include <rte_lcore.h>
#include <rte_malloc.h>

#include "bench/dpdk.h"
#include "common/cleanup.h"

/* More than the header of an object. */
#define OVERHEAD 256

struct work {
    size_t size;
    unsigned int burst;
};

static void *take(void *heap, size_t size)
{
    (void)heap;
    return rte_malloc(NULL, size, 0);
}

static void give(void *heap, void *object)
{
    (void)heap;
    rte_free(object);
}

static void do_work(void *data, unsigned int thread)
{
    const struct work *work = data;

    (void)thread;
    if (work->burst == 1)
        crew_pairs(take, give, NULL, work->size, 1);
    else
        crew_pairs(take, give, NULL, work->size, CREW_BURST);
}

const char *dpdk_heap(const struct peer_order *order, struct samples *samples)
{
    struct work work = { (size_t)order->size, order->burst };
    struct crew crew = { .threads = order->threads, .work = do_work, .data = &work };

    if (order->threads < 1 || order->threads > CREW_MAX)
        return "the peer has no such number of threads";
    for (unsigned int i = 0; i < order->threads; i++)
        crew.cpus[i] = order->cpus[i];
    crew_run(&crew, samples);
    return NULL;
}

/* Takes what the heap has free, so that the next one must be new. Return: how many of @list. */
static size_t take_the_rest(void **list, size_t most)
{
    struct rte_malloc_socket_stats stats;
    size_t count = 0;

    while (count < most && rte_malloc_get_socket_stats((int)rte_socket_id(), &stats) == 0 &&
           stats.greatest_free_size > 4 * OVERHEAD) {
        list[count] = rte_malloc(NULL, stats.greatest_free_size - OVERHEAD, 0);
        if (!list[count])
            break;
        count++;
    }
    return count;
}

const char *dpdk_allocate(const struct peer_order *order, struct samples *samples)
{
    void *rest[16];
    size_t count = take_the_rest(rest, ARRAY_LEN(rest));
    uint64_t begin = now_ns();
    /* Its header is in the same pages. */
    volatile char *data = rte_malloc(NULL, (size_t)order->size - OVERHEAD, 0);

    if (data) {
        data[0] = 1;
        samples_add_since(samples, begin);
        begin = now_ns();
        rte_free((void *)data);
        samples_add_since(samples, begin);
    }
    while (count > 0)
        rte_free(rest[--count]);
    return data ? NULL : "rte_malloc() failed: not enough huge pages for the peer?";
}
