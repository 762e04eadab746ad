/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libdmabufd: DMA memory and its addresses for a process that has no privilege.
 *
 *     dmabufd *d;
 *     dmabufd_buffer *b;
 *     uint64_t addr, run;
 *
 *     if (dmabufd_connect(&d, NULL) < 0 || dmabufd_alloc(d, 64 << 20, 0, &b) < 0)
 *         errx(1, "%s", dmabufd_last_error());
 *     dmabufd_translate(d, dmabufd_buffer_data(b), &addr, &run);
 *     ... give addr to the device ...
 *     dmabufd_free(b);
 *     dmabufd_disconnect(d);
 *
 * Errors. Functions that can fail return 0 or a negative errno. dmabufd_last_error() then has the
 * sentence, in the calling thread. On failure no output parameter is touched and nothing is left
 * behind. Any call that talks to the daemon may return -ENOTCONN (the connection ended: the daemon
 * went away or broke the protocol, or this is a forked child) or -ENOMEM (in this process).
 *
 * Threads. All functions may be called by any thread at any time on the same connection, with one
 * rule: a dmabufd or dmabufd_buffer must not be used during or after the call that ends it. No call
 * is a cancellation point.
 *
 * Processes. After fork() the child has no connection: its copies of the handles answer -ENOTCONN,
 * and only dmabufd_disconnect() should be called on them. Buffers stay mapped in the child.
 *
 * The library prints nothing, installs no signal handler and never exits.
 *
 * Sharing, events, the pool and the heap are in headers of their own, which this one includes.
 */
#ifndef DMABUFD_H
#define DMABUFD_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include <dmabufd-types.h>

#ifdef __cplusplus
extern "C" {
#endif

/** A connection to the daemon. */
typedef struct dmabufd dmabufd;

/** A buffer held through a connection. */
typedef struct dmabufd_buffer dmabufd_buffer;

/** struct dmabufd_info - what the daemon said of itself when the connection was made */
struct dmabufd_info {
    enum dmabufd_address_mode mode;
    enum dmabufd_pin pin;
    const char *backend; /**< "iommufd", "pagemap" or "fake"; lives as long as the connection */
    const char *backend_reason; /**< why this one, a sentence; lives as long as the connection */
    uint64_t page_sizes[4]; /**< bytes, ascending, what dmabufd_alloc() may ask for; unused: 0 */
    uint64_t max_size;      /**< of one buffer, bytes */
    uint32_t max_buffers;   /**< this connection can hold */
    uint64_t client;        /**< number of this connection in the daemon's log */
};

/** struct dmabufd_status - the daemon as a whole */
struct dmabufd_status {
    char version[32];       /**< of the daemon */
    uint32_t clients;       /**< connected */
    uint32_t buffers;       /**< live */
    uint64_t bytes;         /**< in live buffers */
    uint64_t huge_bytes;    /**< of these in huge pages */
    uint32_t pinned;        /**< buffers whose pages are pinned, those on their way out included */
    uint32_t jobs;          /**< allocations and releases waiting or at work */
    uint32_t broker_starts; /**< 1 unless the broker had to be started again */
    uint64_t uptime_ns;     /**< of the daemon */
    uint64_t unreleasable_bytes; /**< the kernel refused to unmap: kept by the daemon for good */
};

/** struct dmabufd_buffer_info - a line of dmabufd_list() */
struct dmabufd_buffer_info {
    uint64_t id;         /**< of the buffer, see dmabufd_buffer_id() */
    uint64_t size;       /**< bytes */
    uint64_t page_size;  /**< bytes */
    uint32_t span_count; /**< length of its scatter list */
    uint32_t holds;      /**< of this connection */
    uint32_t holders;    /**< connections that hold it */
    uint32_t access;     /**< enum dmabufd_access: the best right that this connection came by */
};

/**
 * dmabufd_connect() - connect and say hello
 * @ret: receives the connection; end it with dmabufd_disconnect()
 * @socket_path: of the daemon's socket; NULL for $DMABUFD_SOCKET (ignored in a set-uid program) or
 *               else /run/dmabufd/dmabufd.sock
 *
 * Return: 0; -ENOENT or -ECONNREFUSED: no daemon there; -EACCES: the socket's mode or group keeps
 * this user out; -ENAMETOOLONG; -EPROTONOSUPPORT: no common version; -EPROTO: not this protocol;
 * -EUSERS: the daemon has its limit of connections; -ENOTCONN; -ENOMEM; or another errno of
 * socket(2), connect(2), mmap(2).
 */
int dmabufd_connect(dmabufd **ret, const char *socket_path);

/**
 * dmabufd_disconnect() - end the connection and everything held through it
 * @d: may be NULL
 *
 * Unmaps and closes all buffers of this connection: no pointer, dmabufd_buffer or span of it may
 * be used any more. Buffers that other processes hold too live on there.
 *
 * Return: always NULL.
 */
dmabufd *dmabufd_disconnect(dmabufd *d);

/** dmabufd_get_info() - filled in at connect; valid until dmabufd_disconnect(). Never NULL. */
const struct dmabufd_info *dmabufd_get_info(const dmabufd *d);

/**
 * dmabufd_alloc() - allocate a buffer: pinned, zeroed, mapped here, its addresses known
 * @d: connection
 * @size: bytes, not 0; rounded up to the page size used (dmabufd_buffer_size())
 * @page_size: 4096, 2097152 or 1073741824: exactly that; 0: the largest that suits and is free
 * @ret: receives the buffer; end it with dmabufd_free()
 *
 * The memory is shared memory: it is the same pages in a child after fork(), and never swapped.
 *
 * Return: 0; -EINVAL: an argument is wrong; -E2BIG: more than a limit; -ENOMEM: the host has not
 * enough memory, or not enough huge pages of that size, or the limit of this user or of all together
 * is reached, or this process has no room for another mapping (RLIMIT_AS, max_map_count); -EMFILE:
 * limit of buffers reached, or no file descriptor free here; -EOPNOTSUPP: this host has no such page
 * size; -ESHUTDOWN: the daemon is ending; -EIO: the kernel refused to pin or resolve; -ENOTCONN; -EPROTO.
 */
int dmabufd_alloc(dmabufd *d, uint64_t size, uint64_t page_size, dmabufd_buffer **ret);

/**
 * dmabufd_alloc_constrained() - allocate a buffer that a particular device can take
 * @constraints: what the device can take, see struct dmabufd_constraints; copied
 *
 * The buffer meets them all, or the call fails. max_segment_size and boundary only cut, see
 * dmabufd_segments_begin(). For the others the daemon chooses among the free huge pages of the host,
 * of which it leaves half to others, or among small pages for dma_mask, and for min_span and alignment
 * up to 64 KiB; for ten seconds at most, all page sizes together, and one search at a time. So reserve
 * huge pages for a device that is hard to please, and leave @page_size 0.
 *
 * With DMABUFD_NODE_STRICT all pages are on constraints->node; with DMABUFD_NODE_PREFERRED as many
 * as it has free. dmabufd_buffer_nodes() tells where they are.
 *
 * Return: as dmabufd_alloc(); -ENOSPC: no memory that fits was found, the sentence says how close
 * the best came and what was asked, with the number of bits of its highest address: the address itself
 * is that of memory which went back to the kernel, and not the caller's to know; -ENOMEM also: the strict node has too little free; -EOPNOTSUPP also: the host has no such
 * node; -EINVAL also: the constraints contradict one another.
 */
int dmabufd_alloc_constrained(dmabufd *d, uint64_t size, uint64_t page_size,
                              const struct dmabufd_constraints *constraints, dmabufd_buffer **ret);

/**
 * dmabufd_lookup() - become a holder of a buffer whose descriptor another process passed to us
 * @d: connection
 * @fd: descriptor of the buffer, from dmabufd_buffer_fd() or dmabufd_share() of its holder; stays
 *      the caller's, who may close it afterwards
 * @ret: receives a buffer with the same pages and spans; end it with dmabufd_free()
 *
 * Possession of the descriptor is the permission: one of dmabufd_buffer_fd() gives a buffer that can
 * be written, one of dmabufd_share() a buffer that can be read, see dmabufd_buffer_access(). A
 * descriptor that was opened anew through /proc is none. A holder that is another user than those
 * there are is charged for the buffer, too (--memory-limit-per-user). Looking up a buffer that this
 * connection already holds gives a second, independent dmabufd_buffer.
 *
 * Return: 0; -EBADF: @fd is not open; -EACCES: it is not open for reading; -ENXIO: not
 * a buffer of this daemon, or one into which a holder punched a hole; -EMFILE; -ENOMEM; -ESHUTDOWN;
 * -EOPNOTSUPP (the kernel cannot compare open files); -ENOTCONN; -EPROTO.
 */
int dmabufd_lookup(dmabufd *d, int fd, dmabufd_buffer **ret);

/**
 * dmabufd_register() - pin memory that this program made, and learn its addresses
 * @d: connection
 * @fd: a memfd, of small or of huge pages, opened for reading and writing, with F_SEAL_SHRINK and
 *      without F_SEAL_WRITE or F_SEAL_FUTURE_WRITE; every page of the range was written to. Stays
 *      the caller's, who may close it afterwards
 * @offset, @size: the range, bytes, multiples of the memfd's page size
 * @constraints: the memory must meet them as it lies; NULL: none
 * @ret: receives a buffer of these pages; dmabufd_free() of it unpins them
 *
 * The buffer is a mapping of its own: dmabufd_translate() takes pointers into
 * dmabufd_buffer_data(), not into other mappings of the memfd. dmabufd_lookup() does not know it, and
 * it cannot be shared or published; another process registers the memfd itself. During the call the memfd's file position must not be
 * relied on (read(2), write(2), lseek(2) through any descriptor of the same open file).
 *
 * Return: as dmabufd_alloc_constrained(), and: -EBADF: @fd is not open; -EACCES: not open for
 * reading and writing; -EOPNOTSUPP: not a memfd; -EPERM: a seal is missing or in the way; -EINVAL:
 * the range; -ENXIO: pages are missing or were never written.
 */
int dmabufd_register(dmabufd *d, int fd, uint64_t offset, uint64_t size,
                     const struct dmabufd_constraints *constraints, dmabufd_buffer **ret);

/**
 * dmabufd_free() - give up a buffer
 * @buffer: NULL is allowed; gone when this returns, whatever it returns
 *
 * A translation that starts after this returned misses. Tells the daemon that no device uses the
 * buffer on this process's behalf any more: stop the device first. When the last holder of memory
 * that the daemon made gives it up, the pages are gone: other mappings and descriptors of it show
 * zeroes, and what is written there has no known address.
 *
 * Return: 0; -ENOTCONN or -EPROTO: the connection has ended, and the daemon has released it or
 * will; -ENOMEM: the daemon could not be told, and releases it at dmabufd_disconnect().
 */
int dmabufd_free(dmabufd_buffer *buffer);

/** dmabufd_buffer_data() - where the buffer is mapped, readable, and writable unless its access is
 *  DMABUFD_READ_ONLY (a store is SIGSEGV then); aligned to its page size, or to 2 MiB from that size
 *  on. Valid until dmabufd_free(). */
void *dmabufd_buffer_data(const dmabufd_buffer *buffer);

/** dmabufd_buffer_size() - bytes, a multiple of dmabufd_buffer_page_size(). */
uint64_t dmabufd_buffer_size(const dmabufd_buffer *buffer);

/** dmabufd_buffer_page_size() - bytes; of the pages the memory really consists of. */
uint64_t dmabufd_buffer_page_size(const dmabufd_buffer *buffer);

/** dmabufd_buffer_id() - the daemon's number for it, equal in every process; not a permission. */
uint64_t dmabufd_buffer_id(const dmabufd_buffer *buffer);

/** dmabufd_buffer_mode() - what the addresses of its spans mean. */
enum dmabufd_address_mode dmabufd_buffer_mode(const dmabufd_buffer *buffer);

/**
 * dmabufd_buffer_nodes() - which NUMA nodes its pages are on
 * Return: bit n: some of them are on node n; 0: the daemon cannot tell.
 */
uint64_t dmabufd_buffer_nodes(const dmabufd_buffer *buffer);

/** dmabufd_buffer_pin() - how firmly its pages stay. */
enum dmabufd_pin dmabufd_buffer_pin(const dmabufd_buffer *buffer);

/** dmabufd_buffer_access() - whether its descriptor and its mapping can be written through. */
enum dmabufd_access dmabufd_buffer_access(const dmabufd_buffer *buffer);

/**
 * dmabufd_buffer_fd() - the descriptor that is the buffer
 *
 * Pass it to another process (SCM_RIGHTS, or inherit a dup) to share the buffer. Stays the
 * library's: dup it to keep it. Whoever has it can do with the memory what dmabufd_buffer_access()
 * says; dmabufd_share() makes one for reading only.
 *
 * Of a buffer with chunks (dmabufd_buffer_chunk_count()) it is a token, good for dmabufd_lookup() and
 * for nothing else: mapped by hand it shows an empty page.
 */
int dmabufd_buffer_fd(const dmabufd_buffer *buffer);

/**
 * dmabufd_buffer_chunk_count() - of how many files of memory it was assembled
 *
 * To meet constraints, the daemon may put several pieces of its pool one behind the other. Its data,
 * spans and translations are the same as of any other buffer; only its descriptor is not.
 *
 * Return: 1, or 2 to 250.
 */
uint32_t dmabufd_buffer_chunk_count(const dmabufd_buffer *buffer);

/**
 * dmabufd_buffer_spans() - the scatter list
 * @ret_count: number of spans, at least 1
 * Return: the spans in offset order; valid until dmabufd_free().
 */
const struct dmabufd_span *dmabufd_buffer_spans(const dmabufd_buffer *buffer, size_t *ret_count);

/**
 * dmabufd_translate() - pointer to device address
 * @d: connection
 * @pointer: anywhere inside a buffer of this connection
 * @ret_dma_addr: address of that byte for the device
 * @ret_length: bytes from there on that are contiguous for the device, to the end of the buffer at
 *              most
 *
 * No system call, no lock, no message: for the data path; <dmabufd-inline.h> has it without the call.
 * Does not set dmabufd_last_error().
 * Safe against concurrent dmabufd_alloc() and dmabufd_free() of other buffers; one that overlaps
 * the free of its own buffer may give either answer.
 *
 * Return: 0; -ENOENT: not inside a buffer of this connection, or in one that is revoked
 * (DMABUFD_EVENT_REVOKED).
 */
int dmabufd_translate(const dmabufd *d, const void *pointer, uint64_t *ret_dma_addr,
                      uint64_t *ret_length);

/** The device address where there is none; no address of a buffer is. */
#define DMABUFD_NO_ADDRESS UINT64_MAX

/** struct dmabufd_translation - one answer of dmabufd_translate_pointers() */
struct dmabufd_translation {
    uint64_t dma_addr; /**< for the device, or DMABUFD_NO_ADDRESS */
    uint64_t length;   /**< bytes from there on that are contiguous for the device, or 0 */
};

/**
 * dmabufd_translate_pointers() - dmabufd_translate() of many pointers in one call
 * @pointers: @count of them, in any order, into any buffers of this connection
 * @count: 0 is allowed
 * @ret: receives @count answers, in the same order
 *
 * Each answer is what dmabufd_translate() of that pointer would have been. Where that is -ENOENT,
 * dma_addr is DMABUFD_NO_ADDRESS and length is 0; the others are answered all the same. Faster than
 * as many single calls, most so where pointers into pages of one size stand together. For the data
 * path as dmabufd_translate(), with the same rules for threads: the list is not one moment, each
 * pointer is translated for itself.
 *
 * Return: how many were translated: @count if there was no miss.
 */
size_t dmabufd_translate_pointers(const dmabufd *d, const void *const *pointers, size_t count,
                                  struct dmabufd_translation *ret);

/**
 * dmabufd_translate_iovecs() - the same for pieces of memory
 * @ret: answers for each iov_base; length is at most iov_len
 *
 * So a length less than iov_len is a piece that is not contiguous for the device, or reaches out of
 * its buffer: the rest begins at iov_base + length and is to be translated on its own. A piece of
 * iov_len 0 inside a buffer is translated and has length 0: a miss shows in dma_addr.
 *
 * Return: how many were translated, also in part.
 */
size_t dmabufd_translate_iovecs(const dmabufd *d, const struct iovec *iovecs, size_t count,
                                struct dmabufd_translation *ret);

/**
 * dmabufd_buffer_translate() - dmabufd_translate() by offset in a buffer
 * @offset: bytes, less than dmabufd_buffer_size()
 * Return: 0; -ERANGE: @offset is not inside; -ENOENT: the buffer is revoked.
 */
int dmabufd_buffer_translate(const dmabufd_buffer *buffer, uint64_t offset, uint64_t *ret_dma_addr,
                             uint64_t *ret_length);

/**
 * dmabufd_segments_begin() - iterate over a range of a buffer as a device's descriptors want it
 * @segments: the iteration, on the caller's stack
 * @offset, @length: bytes; the range must lie in the buffer and not be empty
 * @constraints: max_segment_size, boundary and alignment are applied; copied. NULL: none
 *
 *     struct dmabufd_segments segments;
 *     struct dmabufd_span segment;
 *
 *     dmabufd_segments_begin(&segments, buffer, 0, dmabufd_buffer_size(buffer), &constraints);
 *     while (dmabufd_segments_next(&segments, &segment))
 *         add_descriptor(segment.dma_addr, segment.length);
 *
 * No memory, no system call, no lock; as few segments as the rules allow. Valid until
 * dmabufd_free() of the buffer.
 *
 * Return: 0; -ERANGE: not a range of the buffer; -EINVAL: the constraints make no sense.
 */
int dmabufd_segments_begin(struct dmabufd_segments *segments, const dmabufd_buffer *buffer,
                           uint64_t offset, uint64_t length,
                           const struct dmabufd_constraints *constraints);

/**
 * dmabufd_segments_next() - the next segment
 * @ret: offset in the buffer, address for the device and length, bytes
 * Return: 1; 0 at the end.
 */
int dmabufd_segments_next(struct dmabufd_segments *segments, struct dmabufd_span *ret);

/**
 * dmabufd_list() - what this connection holds, as the daemon sees it
 * @ret_list: malloc'ed array, free() it; NULL if there is none
 * @ret_count: entries
 * Return: 0; -ENOTCONN; -EPROTO; -ENOMEM.
 */
int dmabufd_list(dmabufd *d, struct dmabufd_buffer_info **ret_list, size_t *ret_count);

/**
 * dmabufd_get_status() - ask the daemon how it is
 * @ret: filled in on success
 * Return: 0; -ENOTCONN; -ENOMEM; -EPROTO.
 */
int dmabufd_get_status(dmabufd *d, struct dmabufd_status *ret);

/**
 * dmabufd_last_error() - why the last failed call of this thread failed
 * Return: a sentence; valid until the next call of the library in this thread. Never NULL.
 */
const char *dmabufd_last_error(void);

/** dmabufd_last_code() - the same as a code; DMABUFD_CODE_OK if the daemon did not refuse it. */
enum dmabufd_code dmabufd_last_code(void);

/** dmabufd_mode_string() - "pa", "iova", "fake"; "unknown" for any other number. */
const char *dmabufd_mode_string(enum dmabufd_address_mode mode);

/** dmabufd_access_string() - "read-only", "read-write"; "unknown" for any other number. */
const char *dmabufd_access_string(enum dmabufd_access access);

/** dmabufd_pin_string() - "none", "reference", "longterm"; "unknown" for any other number. */
const char *dmabufd_pin_string(enum dmabufd_pin pin);

#ifdef __cplusplus
}
#endif

#include <dmabufd-event.h>
#include <dmabufd-heap.h>
#include <dmabufd-pool.h>
#include <dmabufd-sharing.h>

#endif
