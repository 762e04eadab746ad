/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The heap of libdmabufd; a part of <dmabufd.h>, which includes it: include that. */
#ifndef DMABUFD_HEAP_H
#define DMABUFD_HEAP_H

#include <stddef.h>
#include <stdint.h>

#include <dmabufd.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Heap: objects of any size out of buffers, for descriptors, queues and I/O. It takes buffers from
 * the daemon as it needs them and gives them back when they are empty; an allocation or a free that
 * finds what it needs in the calling thread's cache takes no lock, makes no system call and sends
 * no message.
 *
 * Every object is contiguous for the device: its pointer, put through dmabufd_translate(), has a
 * length of at least its size (unless DMABUFD_HEAP_ALLOC_SCATTERED). Alignment holds for the
 * pointer and for the device address. An object of at most 4096 bytes never crosses a multiple of 4096 in
 * either; none is smaller than 64 bytes, or shares such a line with another.
 *
 * The heap keeps its records elsewhere: what a device writes into the memory it was given, or
 * beside an object, can damage contents of objects, never the heap.
 *
 * Threads. Any thread may allocate, and any may free what another allocated. What a thread keeps
 * for itself (at most 6 MiB of a heap, in all sizes, or less by the heap's limit) goes back when it
 * ends.
 *
 * Processes. The memory is shared with children made by fork(); the heap is not: in a child its
 * functions fail with -ENOTCONN, and only dmabufd_heap_destroy() should be called.
 */

/** A heap on a connection. */
typedef struct dmabufd_heap dmabufd_heap;

/** Flags of a heap. */
enum dmabufd_heap_flag {
    DMABUFD_HEAP_KEEP = 1, /**< give nothing back except by dmabufd_heap_trim() and at the end */
};

/** Flags of an allocation. */
enum dmabufd_heap_alloc_flag {
    DMABUFD_HEAP_ALLOC_ZERO = 1,      /**< as many bytes as asked for are zero */
    DMABUFD_HEAP_ALLOC_SCATTERED = 2, /**< it may consist of several spans; only its first byte is
                                       *   aligned for the device */
    DMABUFD_HEAP_ALLOC_NO_GROW = 4,   /**< fail with -ENOMEM rather than ask the daemon */
};

/** struct dmabufd_heap_options - begin with DMABUFD_HEAP_OPTIONS_INIT; 0 is always the default */
struct dmabufd_heap_options {
    size_t size;        /**< of this struct: what the caller knows of */
    uint64_t page_size; /**< as in dmabufd_alloc(), bytes */
    uint64_t grow_by;   /**< bytes to take from the daemon at a time, rounded up to pages; 0: 2 MiB,
                         *   more as the heap grows */
    uint64_t limit;     /**< bytes to hold at most; 0: none but the daemon's */
    uint64_t reserve;   /**< bytes, in one buffer, to take at once and never to give back */
    uint64_t dma_mask;  /**< bits that a device address may have, ones from bit 0 up; 0: all */
    uint64_t flags;     /**< enum dmabufd_heap_flag */
};

#define DMABUFD_HEAP_OPTIONS_INIT                             \
    {                                                         \
        sizeof(struct dmabufd_heap_options), 0, 0, 0, 0, 0, 0 \
    }

/** struct dmabufd_heap_statistics - exact when no other thread uses the heap at that moment */
struct dmabufd_heap_statistics {
    size_t size;           /**< of this struct: set before the call */
    uint64_t objects;      /**< in use */
    uint64_t bytes_in_use; /**< of these, each with its usable size */
    uint64_t bytes_held;   /**< of all buffers */
    uint64_t bytes_empty;  /**< of these, in buffers in which nothing is in use or in a cache */
    uint64_t buffers;      /**< held */
    uint64_t largest_span; /**< of any buffer that this heap ever had, bytes */
    uint64_t allocations;  /**< that succeeded, since the beginning */
    uint64_t cache_hits;   /**< of these, out of the calling thread's cache */
    uint64_t grows;        /**< buffers taken */
    uint64_t give_backs;   /**< buffers given back */
};

#define DMABUFD_HEAP_STATISTICS_INIT                                         \
    {                                                                        \
        sizeof(struct dmabufd_heap_statistics), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 \
    }

/**
 * dmabufd_heap_create() - make a heap
 * @d: connection; it must outlive the heap
 * @options: NULL for the defaults: pages of any size, no limit
 * @ret: receives the heap; end it with dmabufd_heap_destroy()
 *
 * Asks the daemon for nothing yet, unless there is something to reserve. A connection can have any
 * number of heaps.
 *
 * Return: 0; -EINVAL: an option is wrong; -E2BIG: an option that this library does not know is not
 * 0; -ENOMEM; or what dmabufd_alloc() of the reserve returned.
 */
int dmabufd_heap_create(dmabufd *d, const struct dmabufd_heap_options *options, dmabufd_heap **ret);

/**
 * dmabufd_heap_destroy() - end a heap; all its objects are gone
 * @heap: may be NULL; no other call may be using it
 *
 * Frees all its buffers: stop the device first. Before dmabufd_disconnect().
 *
 * Return: always NULL.
 */
dmabufd_heap *dmabufd_heap_destroy(dmabufd_heap *heap);

/**
 * dmabufd_heap_alloc() - allocate an object
 * @size: bytes, not 0; dmabufd_heap_usable_size() is what it became
 * @alignment: bytes, of pointer and device address: a power of two up to 2 MiB, or 0 for 64
 *
 * Up to 64 KiB, with an alignment of at most 4096, objects come out of the thread's cache. Others
 * take the heap's lock. The contents are those that the memory happens to have.
 *
 * Return: the object; NULL with errno and dmabufd_last_error() set: EINVAL: size or alignment;
 * ENOSPC: the daemon gives memory, but no span of it is long enough, or none is aligned: the
 * sentence names the longest seen; ENOMEM: the limit of the heap is reached, or there is no memory;
 * ENOTCONN: the connection ended, or this is a child of fork(); or another error of
 * dmabufd_alloc_constrained().
 * A failure leaves the heap holding what it held.
 */
void *dmabufd_heap_alloc(dmabufd_heap *heap, size_t size, size_t alignment);

/** dmabufd_heap_zalloc() - the same, and @size bytes of it are zero. */
void *dmabufd_heap_zalloc(dmabufd_heap *heap, size_t size, size_t alignment);

/**
 * dmabufd_heap_alloc_with() - the same, with flags
 * @flags: of enum dmabufd_heap_alloc_flag; EINVAL if there are others
 */
void *dmabufd_heap_alloc_with(dmabufd_heap *heap, size_t size, size_t alignment, uint64_t flags);

/**
 * dmabufd_heap_free() - give an object back
 * @pointer: from an allocation of this heap; NULL is allowed
 *
 * The memory may be another object's at once: no device may be using it any more. When buffers have
 * become empty beyond what is likely to be needed again, they are given back to the daemon.
 *
 * What is not an object in use is refused, and nothing is changed: a pointer of another heap or of
 * none, into the middle of an object, to one that is free already. Not detected: a pointer that was
 * freed and has been given out again, and two threads that free the same object at the same moment.
 *
 * Return: 0; -EINVAL: not an object in use of this heap; -ENOTCONN: this is a child of fork().
 */
int dmabufd_heap_free(dmabufd_heap *heap, void *pointer);

/** dmabufd_heap_usable_size() - bytes from @pointer on that are the object's; 0 if it is none. */
size_t dmabufd_heap_usable_size(const dmabufd_heap *heap, const void *pointer);

/**
 * dmabufd_heap_trim() - give all empty buffers back now, down to the reserve
 *
 * Objects in the calling thread's cache go back first, those of other threads when these next find
 * theirs empty or full.
 *
 * Return: bytes given back.
 */
uint64_t dmabufd_heap_trim(dmabufd_heap *heap);

/**
 * dmabufd_heap_get_statistics() - numbers
 * @ret: its size is set; the rest is filled in, as far as the caller knows it
 * Return: 0; -EINVAL: the size is less than that of the first version.
 */
int dmabufd_heap_get_statistics(dmabufd_heap *heap, struct dmabufd_heap_statistics *ret);

#ifdef __cplusplus
}
#endif

#endif
