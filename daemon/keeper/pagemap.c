/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The pagemap backend: real physical addresses on kernels without IOMMU_IOAS_NOIOMMU_GET_PA.
 *
 * Pins by registering the memory with io_uring (pinring.h), then reads the frame numbers from
 * /proc/self/pagemap (pfn.h). Both need the memory mapped here for a moment; the window is dropped
 * when the buffer is resolved, so that the number of buffers is not bound by vm.max_map_count. The
 * content is never touched through it.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "common/cleanup.h"
#include "common/extents.h"
#include "daemon/keeper/backend.h"
#include "daemon/keeper/pages.h"
#include "daemon/keeper/pfn.h"
#include "daemon/keeper/pinring.h"
#include "daemon/log.h"

/* A kernel lock is held for each ring while it pins: small buffers have rings of their own, the even
 * ones, and a piece is short. A million pieces: 4 TiB of small pages. */
#define RINGS_MAX   64U
#define RINGS_START 8U
#define SMALL_MAX   (UINT64_C(2) << 20)
#define PIECE       (UINT64_C(4) << 20)

/* The lock of our address space is held for that much. */
#define STEP       (UINT64_C(256) << 10)
#define UNMAP_STEP (UINT64_C(2) << 20)

struct ring {
    int fd;
    struct extents slots;
};

struct pagemap {
    struct backend base;
    int fd;               /* /proc/self/pagemap */
    pthread_mutex_t lock; /* of rings, count and slots; not held during a pin */
    struct ring rings[RINGS_MAX];
    uint32_t count;
};

static void pagemap_close(struct backend *backend)
{
    struct pagemap *pagemap = (struct pagemap *)backend;

    for (uint32_t i = 0; i < pagemap->count; i++) {
        fd_close(&pagemap->rings[i].fd);
        extents_deinit(&pagemap->rings[i].slots);
    }
    pthread_mutex_destroy(&pagemap->lock);
    fd_close(&pagemap->fd);
    free(pagemap);
}

static int add_ring(struct pagemap *pagemap, struct fault *fault)
{
    struct ring *ring = &pagemap->rings[pagemap->count];
    int r;

    if (pagemap->count == RINGS_MAX)
        return fault_set(fault, DMABUFD_CODE_LIMIT, ENOSPC,
                         "all %u io_uring tables of %u pieces are in use", RINGS_MAX,
                         PINRING_SLOTS);
    r = pinring_open(&ring->fd, fault);
    if (r < 0)
        return r;
    if (extents_init(&ring->slots, 0, PINRING_SLOTS) < 0) {
        fd_close(&ring->fd);
        return fault_set(fault, DMABUFD_CODE_NO_MEMORY, ENOMEM, "out of memory");
    }
    pagemap->count++;
    return 0;
}

/* A run of slots in one ring, one for each piece. Called with the lock held. */
static int take_slots(struct pagemap *pagemap, struct mapping *mapping, uint64_t pieces,
                      struct fault *fault)
{
    for (uint32_t i = mapping->size > SMALL_MAX;; i += 2) {
        uint64_t first;

        while (i >= pagemap->count) {
            int r = add_ring(pagemap, fault);

            if (r < 0)
                return r;
        }
        if (extents_take(&pagemap->rings[i].slots, pieces, 1, &first) < 0)
            continue;
        mapping->u.pagemap.ring = i;
        mapping->u.pagemap.first_slot = (uint32_t)first;
        return 0;
    }
}

/* All pieces but the last have one length. */
static uint64_t piece_count(const struct mapping *mapping)
{
    uint64_t piece = backend_piece(mapping, 0);

    return (mapping->size + piece - 1) / piece;
}

static uint32_t slot_at(const struct mapping *mapping, uint64_t offset)
{
    return mapping->u.pagemap.first_slot + (uint32_t)(offset / backend_piece(mapping, 0));
}

static int pagemap_begin(struct backend *backend, struct mapping *mapping, struct fault *fault)
{
    struct pagemap *pagemap = (struct pagemap *)backend;
    uint64_t pieces = piece_count(mapping);
    void *window;
    int r;

    if (pieces > PINRING_SLOTS)
        return fault_set(fault, DMABUFD_CODE_TOO_LARGE, E2BIG,
                         "too large for the pagemap backend: one buffer can be %llu GiB",
                         (unsigned long long)(PINRING_SLOTS * backend_piece(mapping, 0) >> 30));
    /* io_uring wants PROT_WRITE to pin for writing. */
    window = mmap(NULL, mapping->size, PROT_READ | PROT_WRITE, MAP_SHARED, mapping->fd,
                  (off_t)mapping->start);
    if (window == MAP_FAILED)
        return fault_set(fault, DMABUFD_CODE_NO_MEMORY, ENOMEM, "cannot map the memory: %s",
                         strerror(errno));
    pthread_mutex_lock(&pagemap->lock);
    r = take_slots(pagemap, mapping, pieces, fault);
    pthread_mutex_unlock(&pagemap->lock);
    if (r < 0) {
        munmap(window, mapping->size);
        return r;
    }
    mapping->u.pagemap.window = window;
    return 0;
}

/* Allocated and zeroed here, in small steps, so that no lock is held for long while that goes on;
 * registering what is there already is quick. Where the kernel cannot (before 5.14), registering
 * does it all. */
static void populate(const struct mapping *mapping, uint64_t offset, uint64_t length)
{
    for (uint64_t at = offset; at < offset + length; at += STEP) {
        uint64_t rest = offset + length - at;

        if (madvise(mapping->u.pagemap.window + at, rest < STEP ? rest : STEP,
                    MADV_POPULATE_WRITE) < 0)
            return;
    }
}

static int pagemap_pin(struct backend *backend, struct mapping *mapping, uint64_t offset,
                       uint64_t length, struct fault *fault)
{
    struct pagemap *pagemap = (struct pagemap *)backend;

    if (!mapping->foreign && mapping->page_size == PAGE_4K)
        populate(mapping, offset, length);
    return pinring_pin(pagemap->rings[mapping->u.pagemap.ring].fd, slot_at(mapping, offset),
                       mapping->u.pagemap.window + offset, length, fault);
}

static int pagemap_resolve(struct backend *backend, struct mapping *mapping, uint64_t offset,
                           uint64_t length, struct spans *spans, struct fault *fault)
{
    struct pagemap *pagemap = (struct pagemap *)backend;

    return pfn_resolve(pagemap->fd, mapping->u.pagemap.window + offset, length, mapping->page_size,
                       spans, fault);
}

static void pagemap_settle(struct backend *backend, struct mapping *mapping)
{
    uint64_t step = mapping->page_size > UNMAP_STEP ? mapping->page_size : UNMAP_STEP;

    (void)backend;
    for (uint64_t at = 0; mapping->u.pagemap.window && at < mapping->size; at += step)
        munmap(mapping->u.pagemap.window + at,
               mapping->size - at < step ? mapping->size - at : step);
    mapping->u.pagemap.window = NULL;
}

static int pagemap_unpin(struct backend *backend, struct mapping *mapping, uint64_t offset,
                         uint64_t length, struct fault *fault)
{
    struct pagemap *pagemap = (struct pagemap *)backend;

    (void)length;
    return pinring_unpin(pagemap->rings[mapping->u.pagemap.ring].fd, slot_at(mapping, offset),
                         fault);
}

static void pagemap_end(struct backend *backend, struct mapping *mapping)
{
    struct pagemap *pagemap = (struct pagemap *)backend;

    pagemap_settle(backend, mapping);
    pthread_mutex_lock(&pagemap->lock);
    if (extents_give(&pagemap->rings[mapping->u.pagemap.ring].slots, mapping->u.pagemap.first_slot,
                     piece_count(mapping)) < 0)
        log_err("defect: io_uring slots were given back that were not taken");
    pthread_mutex_unlock(&pagemap->lock);
}

static const struct backend_ops pagemap_ops = {
    .close = pagemap_close,
    .begin = pagemap_begin,
    .pin = pagemap_pin,
    .resolve = pagemap_resolve,
    .settle = pagemap_settle,
    .unpin = pagemap_unpin,
    .end = pagemap_end,
};

/* Only a pin shows some of what forbids pins, such as the memory lock limit. */
static int check_page(struct backend *backend, struct mapping *mapping, struct fault *fault)
{
    struct spans spans = { 0 };
    int r = pagemap_resolve(backend, mapping, 0, PAGE_4K, &spans, fault);

    spans_deinit(&spans);
    return r;
}

int pagemap_backend_open(const struct backend_config *config, struct backend **ret,
                         struct fault *fault)
{
    struct pagemap *pagemap = calloc(1, sizeof(*pagemap));
    int r;

    (void)config;
    if (!pagemap)
        return fault_set(fault, DMABUFD_CODE_NO_MEMORY, ENOMEM, "out of memory");
    pagemap->base = (struct backend){
        .ops = &pagemap_ops, .name = "pagemap", .mode = DMABUFD_MODE_PA, .pin = DMABUFD_PIN_LONGTERM
    };
    pagemap->fd = -1;
    pthread_mutex_init(&pagemap->lock, NULL);
    r = pfn_open(&pagemap->fd, fault);
    /* With io_uring_disabled=1 only now: later the keeper has not the capability for it. */
    while (r == 0 && pagemap->count < RINGS_START)
        r = add_ring(pagemap, fault);
    if (r == 0)
        r = backend_try(&pagemap->base, check_page, fault);
    if (r < 0) {
        pagemap_close(&pagemap->base);
        return r;
    }
    *ret = &pagemap->base;
    return 0;
}
