/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Addresses of memory full of objects; see dpdk.h. */
#include <rte_errno.h>
#include <rte_malloc.h>
#include <rte_memory.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "bench/dpdk.h"
#include "bench/walk.h"
#include "common/cleanup.h"

#define SMALL_PAGE UINT64_C(4096)
#define HEAP_NAME  "small-pages"
/* Of each object's share of the memory: a header before it. */
#define OVERHEAD 256
/* rte_mem_virt2iova() is four system calls. */
#define PLACES_MEM 1024
#define WARM       2
#define TIMED      8

static struct {
    char **objects; /* WALK_PLACES of them, all or the first are there */
    size_t object_size;
    uint64_t page_size;
    /* Of small pages. */
    void *data;
    uint64_t size;
    bool added;      /* to the heap */
    const char *why; /* there is nothing */
} memory = { .why = "the peer has nothing to ask about" };

void dpdk_release(void)
{
    for (size_t i = 0; memory.objects && i < WALK_PLACES; i++)
        rte_free(memory.objects[i]);
    free(memory.objects);
    if (memory.added) {
        rte_malloc_heap_memory_remove(HEAP_NAME, memory.data, memory.size);
        rte_malloc_heap_destroy(HEAP_NAME);
    }
    if (memory.data)
        munmap(memory.data, memory.size);
    memset(&memory, 0, sizeof(memory));
    memory.why = "the peer has nothing to ask about";
}

/* Small pages, as they come, that stay where they are as far as DPDK's own way goes: locked. */
static const char *add_small_pages(uint64_t size)
{
    size_t count = (size_t)(size / SMALL_PAGE);
    CLEANUP_FREE rte_iova_t *addresses = calloc(count, sizeof(*addresses));
    void *data = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (data == MAP_FAILED || !addresses)
        return "no memory for the peer";
    memory.data = data;
    memory.size = size;
    madvise(data, size, MADV_NOHUGEPAGE);
    if (mlock(data, size) < 0)
        return "the peer could not lock its memory";
    for (size_t i = 0; i < count; i++)
        addresses[i] = rte_mem_virt2phy((char *)data + i * SMALL_PAGE);
    if (rte_malloc_heap_create(HEAP_NAME) < 0)
        return rte_strerror(rte_errno);
    if (rte_malloc_heap_memory_add(HEAP_NAME, data, size, addresses, (unsigned int)count,
                                   SMALL_PAGE) < 0) {
        rte_malloc_heap_destroy(HEAP_NAME);
        return rte_strerror(rte_errno);
    }
    memory.added = true;
    return NULL;
}

static void shuffle(char **list, size_t count)
{
    uint64_t state = WALK_SEED;

    for (size_t i = count; i > 1; i--) {
        size_t other = walk_random(&state) % i;
        char *kept = list[i - 1];

        list[i - 1] = list[other];
        list[other] = kept;
    }
}

/* The two ways must agree. */
static bool addresses_agree(void)
{
    for (size_t i = 0; i < WALK_PLACES; i += 64) {
        if (rte_malloc_virt2iova(memory.objects[i]) != rte_mem_virt2iova(memory.objects[i]))
            return false;
    }
    return true;
}

const char *dpdk_prepare(const struct peer_order *order)
{
    const char *why = NULL;
    int socket = SOCKET_ID_ANY;

    dpdk_release();
    memory.page_size = order->page_size;
    memory.object_size = (size_t)(order->size / WALK_PLACES) - OVERHEAD;
    memory.objects = calloc(WALK_PLACES, sizeof(*memory.objects));
    if (!memory.objects)
        why = "no memory for the peer";
    if (!why && order->page_size == SMALL_PAGE) {
        why = add_small_pages(order->size);
        socket = why ? socket : rte_malloc_heap_get_socket(HEAP_NAME);
    }
    for (size_t i = 0; !why && i < WALK_PLACES; i++) {
        memory.objects[i] = rte_malloc_socket(NULL, memory.object_size, 0, socket);
        if (!memory.objects[i])
            why = "rte_malloc() failed: not enough huge pages for the peer?";
    }
    if (!why && !addresses_agree())
        why = "rte_malloc_virt2iova() and rte_mem_virt2iova() disagree";
    if (why) {
        dpdk_release();
        memory.why = why;
        return why;
    }
    shuffle(memory.objects, WALK_PLACES);
    return NULL;
}

static int ask_mem(const void *of, const char *pointer, uint64_t *ret_dma_addr,
                   uint64_t *ret_length)
{
    (void)of;
    *ret_dma_addr = rte_mem_virt2iova(pointer);
    *ret_length = 0;
    return *ret_dma_addr == RTE_BAD_IOVA ? -1 : 0;
}

static int ask_malloc(const void *of, const char *pointer, uint64_t *ret_dma_addr,
                      uint64_t *ret_length)
{
    (void)of;
    *ret_dma_addr = rte_malloc_virt2iova(pointer);
    *ret_length = 0;
    return *ret_dma_addr == RTE_BAD_IOVA ? -1 : 0;
}

static void walk_once(enum peer_way way, const char *const *places, bool chained)
{
    if (way == PEER_MALLOC && chained)
        walk(ask_malloc, NULL, places, WALK_PLACES, true);
    else if (way == PEER_MALLOC)
        walk(ask_malloc, NULL, places, WALK_PLACES, false);
    else if (chained)
        walk(ask_mem, NULL, places, PLACES_MEM, true);
    else
        walk(ask_mem, NULL, places, PLACES_MEM, false);
}

/* Into the objects, for who takes any pointer. */
static void fill_places(enum peer_way way, const char **places)
{
    uint64_t state = WALK_SEED;

    for (size_t i = 0; i < WALK_PLACES; i++)
        places[i] =
            memory.objects[i] + (way == PEER_MALLOC ? 0 : walk_random(&state) % memory.object_size);
}

const char *dpdk_walk(const struct peer_order *order, struct samples *samples)
{
    size_t count = order->way == PEER_MALLOC ? WALK_PLACES : PLACES_MEM;
    CLEANUP_FREE const char **places = calloc(WALK_PLACES, sizeof(*places));

    if (!memory.objects)
        return memory.why;
    if (!places)
        return "no memory for the peer";
    fill_places(order->way, places);
    for (int i = 0; i < WARM + TIMED; i++) {
        uint64_t begin = now_ns();

        walk_once(order->way, places, order->chained);
        if (i >= WARM)
            samples_add(samples, (double)(now_ns() - begin) / (double)count);
    }
    return NULL;
}

/* As many pages as there are; of huge ones any will do, since one costs what another does. */
const char *dpdk_resolve(const struct peer_order *order, struct samples *samples)
{
    uint64_t begin, sum = 0;

    if (!memory.objects)
        return memory.why;
    begin = now_ns();
    for (uint64_t i = 0; i < order->size / memory.page_size; i++) {
        const char *page = memory.data ? (char *)memory.data + i * memory.page_size
                                       : memory.objects[i % WALK_PLACES];

        sum += rte_mem_virt2iova(page);
    }
    samples_add(samples, (double)(now_ns() - begin));
    walk_sink = sum;
    return NULL;
}
