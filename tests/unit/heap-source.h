/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Source: memory for a heap without a daemon, laid out for the device as a test wants it. It counts
 * what was obtained and released, refuses on demand, and translates by walking its lists. Any
 * thread.
 */
#ifndef UNIT_HEAP_SOURCE_H
#define UNIT_HEAP_SOURCE_H

#include <pthread.h>
#include <stdbool.h>

#include "client/heap.h"

#define SOURCE_MEMORIES 512

/** What comes with no @unit is one span. */
struct test_layout {
    uint64_t unit;  /* bytes that are contiguous; no two units are */
    uint64_t shift; /* bytes by which device addresses are less aligned than pointers */
};

struct test_source {
    struct heap_source ops; /* for heap_create() */
    struct test_layout layout;
    pthread_mutex_t lock;
    struct heap_memory memory[SOURCE_MEMORIES]; /* handle: NULL if unused */
    uint64_t next_dma;
    uint64_t live, bytes, obtained, released;
    uint64_t refuse_above; /* bytes; what is larger fails with ENOMEM */
    bool broken;           /* everything fails with ENOTCONN */
};

/** test_source_init() - one that gives memory of this layout. */
void test_source_init(struct test_source *source, struct test_layout layout);

/** test_source_deinit() - all memory has been released; asserts it. */
void test_source_deinit(struct test_source *source);

/** test_heap_create() - a heap on a source that this prepares; asserts that there is one. */
dmabufd_heap *test_heap_create(struct test_source *source, struct test_layout layout,
                               const struct dmabufd_heap_options *options);

/** test_heap_destroy() - the end of both. */
void test_heap_destroy(dmabufd_heap *heap, struct test_source *source);

/**
 * test_source_translate() - like dmabufd_translate()
 * Return: false: not in any memory.
 */
bool test_source_translate(struct test_source *source, const void *pointer, uint64_t *ret_dma_addr,
                           uint64_t *ret_length);

#endif
