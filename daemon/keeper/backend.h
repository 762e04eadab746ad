/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Backend: what pins memory and tells its addresses. One table of functions, three implementations:
 * iommufd.c, pagemap.c, fake.c; backend.c chooses.
 *
 * Memory is pinned piece by piece, in order, from offset 0, so that a worker can turn to other work
 * between pieces and nothing holds a kernel lock for long. Functions are called by any worker
 * thread, never two at once for the same mapping.
 */
#ifndef KEEPER_BACKEND_H
#define KEEPER_BACKEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/dmabufd-types.h"
#include "common/fault.h"
#include "common/spans.h"
#include "daemon/keeper/nodes.h"

/** Largest piece of memory in small pages: beyond 8192 pages in one IOMMU_IOAS_MAP_FILE call Linux
 *  7.3 can lose count of its pins when the call fails half-way. Also bounds one step of a worker. */
#define BACKEND_PIECE (UINT64_C(32) << 20)

struct backend;

/** The pinned state of one memfd. */
struct mapping {
    int fd;                     /* of the buffer, which owns it */
    uint64_t start;             /* where in the file it begins, bytes */
    struct placement placement; /* for a backend that pretends nodes */
    bool foreign;               /* a client made the memory: its pages are all there */
    uint64_t piece;             /* longest piece, bytes; 0: BACKEND_PIECE */
    uint64_t size;              /* bytes, a multiple of page_size */
    uint64_t page_size;         /* bytes */
    uint64_t pinned;            /* bytes pinned, from offset 0 */
    bool begun;
    /* Each backend uses its own. */
    union {
        struct {
            uint32_t shard;
            uint64_t iova;
        } iommufd;
        struct {
            unsigned char *window; /* NULL outside begin..settle */
            uint32_t ring;
            uint32_t first_slot;
        } pagemap;
        struct {
            uint64_t base;
        } fake;
    } u;
};

struct backend_ops {
    /** close() - free the backend; all mappings are undone. */
    void (*close)(struct backend *backend);
    /** begin() - choose a place for the mapping; nothing is pinned yet. */
    int (*begin)(struct backend *backend, struct mapping *mapping, struct fault *fault);
    /** pin() - pin @length bytes at @offset, which is mapping->pinned; small pages are allocated and
     *  zeroed by it (memory.h says why). All or nothing. */
    int (*pin)(struct backend *backend, struct mapping *mapping, uint64_t offset, uint64_t length,
               struct fault *fault);
    /** resolve() - append the addresses of a pinned piece to @spans. */
    int (*resolve)(struct backend *backend, struct mapping *mapping, uint64_t offset,
                   uint64_t length, struct spans *spans, struct fault *fault);
    /** settle() - all is pinned and resolved: drop what only these steps needed. May be NULL. */
    void (*settle)(struct backend *backend, struct mapping *mapping);
    /** unpin() - undo pin() of @length bytes at @offset, the last piece that is pinned. */
    int (*unpin)(struct backend *backend, struct mapping *mapping, uint64_t offset, uint64_t length,
                 struct fault *fault);
    /** nodes_of() - as in nodes.h, of addresses that are not physical ones. May be NULL. */
    uint64_t (*nodes_of)(struct backend *backend, const struct dmabufd_span *list, size_t count);
    /** end() - undo begin(); nothing is pinned any more. */
    void (*end)(struct backend *backend, struct mapping *mapping);
};

/** Base of every backend; the implementations embed it first. */
struct backend {
    const struct backend_ops *ops;
    const char *name;
    enum dmabufd_address_mode mode;
    enum dmabufd_pin pin;
    uint64_t nodes;              /* the NUMA nodes it pretends, bit n for node n; 0: the host's */
    uint64_t piece;              /* for mapping.piece */
    char reason[FAULT_TEXT_MAX]; /* why this backend: a sentence for people */
};

struct backend_config {
    const char *name; /* "auto", "iommufd", "pagemap", "fake" */
    const char *const *devices;
    size_t device_count;
    const char *fake; /* script, may be NULL */
    /**
     * wait() - @fault says what is in the way, which may pass: come back after a while. NULL: never
     * Return: 0 to try again; a negative errno, -EBUSY or -ECANCELED, with @fault to give up.
     */
    int (*wait)(void *data, struct fault *fault);
    void *wait_data;
};

/**
 * backend_open() - choose and open
 *
 * "auto" takes iommufd if it can serve, else pagemap where no IOMMU translates, and says in
 * backend->reason which and why. A backend asked for by name is that one or a failure. A device that
 * was named and is in use is waited for, and after that it is a failure, also for "auto": whoever
 * named it does not want another backend because of a moment.
 */
int backend_open(const struct backend_config *config, struct backend **ret, struct fault *fault);

/** backend_close() - NULL is allowed. Returns NULL. */
struct backend *backend_close(struct backend *backend);

/**
 * backend_try() - go the whole way once, with a page of our own, before any client sees an address
 * @look: asks for the address of the page that is pinned and judges it
 * Return: 0, or a negative errno with what is in the way; nothing is left behind.
 */
int backend_try(struct backend *backend,
                int (*look)(struct backend *backend, struct mapping *mapping, struct fault *fault),
                struct fault *fault);

/** backend_piece() - length of the piece of @mapping that begins at @offset. */
uint64_t backend_piece(const struct mapping *mapping, uint64_t offset);

int iommufd_backend_open(const struct backend_config *config, struct backend **ret,
                         struct fault *fault);
int pagemap_backend_open(const struct backend_config *config, struct backend **ret,
                         struct fault *fault);
int fake_backend_open(const struct backend_config *config, struct backend **ret,
                      struct fault *fault);

#endif
