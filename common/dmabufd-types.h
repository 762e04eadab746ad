/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The vocabulary of dmabufd: the few types that the daemon, the protocol and the library all speak of.
 *
 * Installed beside <dmabufd.h>, which includes it. It declares no function and includes nothing of
 * the project. Numbers in here are ABI and protocol: never renumber, only add.
 */
#ifndef DMABUFD_TYPES_H
#define DMABUFD_TYPES_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * struct dmabufd_span - a maximal run of a buffer that is contiguous for the device
 * @offset: where the run starts in the buffer, bytes
 * @dma_addr: the address to give to the device for that byte
 * @length: length of the run, bytes, never 0
 *
 * A scatter list is an array of these in offset order that covers its buffer exactly. The layout is
 * also that of a scatter list in a message and in a sealed memfd (proto/spantable.h): three
 * little-endian 64-bit words.
 */
struct dmabufd_span {
    uint64_t offset;
    uint64_t dma_addr;
    uint64_t length;
};

/** All spans of the buffer touch: it is one span. */
#define DMABUFD_CONTIGUOUS UINT32_C(1)
/** The pages come from the NUMA node of the constraints as far as it has enough. */
#define DMABUFD_NODE_PREFERRED UINT32_C(2)
/** All pages are on the NUMA node of the constraints. */
#define DMABUFD_NODE_STRICT UINT32_C(4)

/**
 * struct dmabufd_constraints - what a device can take; all zero: anything
 * @dma_mask: bits an address may have, ones from bit 0 up such as 0xffffffff; 0: all
 * @max_segment_size: longest segment, bytes; 0: any length
 * @boundary: no segment crosses a multiple of it, a power of two, bytes; 0: none
 * @alignment: every segment begins at a multiple of it, a power of two, bytes; 0: any
 * @min_span: shortest useful span, bytes, the last of a buffer excepted; 0: any
 * @max_segments: most segments of a buffer; 0: any number
 * @flags: DMABUFD_CONTIGUOUS, DMABUFD_NODE_PREFERRED or DMABUFD_NODE_STRICT
 * @node: number of a NUMA node; it counts with one of the two flags, and is 0 without
 * @reserved: 0
 *
 * A segment is what becomes one descriptor of a device: a span, cut where @max_segment_size and
 * @boundary demand it. These two only cut; the others need memory that fits.
 */
struct dmabufd_constraints {
    uint64_t dma_mask;
    uint64_t max_segment_size;
    uint64_t boundary;
    uint64_t alignment;
    uint64_t min_span;
    uint32_t max_segments;
    uint32_t flags;
    uint32_t node;
    uint32_t reserved;
};

/**
 * struct dmabufd_segments - where an iteration over segments is; its fields are not for use
 *
 * On the stack of the caller, filled by dmabufd_segments_begin().
 */
struct dmabufd_segments {
    const struct dmabufd_span *list;
    uint64_t count;
    uint64_t at;     /* index of the span */
    uint64_t offset; /* in the buffer, bytes */
    uint64_t end;
    struct dmabufd_constraints constraints;
};

/** What the dma_addr of a span means. */
enum dmabufd_address_mode {
    DMABUFD_MODE_PA = 1,   /**< no IOMMU translates: dma_addr is the physical address */
    DMABUFD_MODE_IOVA = 2, /**< an IOMMU translates: dma_addr is an IOVA */
    DMABUFD_MODE_FAKE = 3, /**< for tests: no device can reach these addresses */
};

/** How firmly the pages of a buffer stay where they are. */
enum dmabufd_pin {
    DMABUFD_PIN_NONE = 1, /**< not at all: only the fake backend */
    DMABUFD_PIN_REFERENCE =
        2, /**< by page references: not freed, but could be in memory that migrates */
    DMABUFD_PIN_LONGTERM = 3, /**< FOLL_LONGTERM: stays until the buffer ends */
};

/** What a holder may do with the contents of a buffer. */
enum dmabufd_access {
    DMABUFD_READ_ONLY = 1, /**< read them; a device that is told the addresses is not bound by it */
    DMABUFD_READ_WRITE = 2, /**< read and write */
};

/** Why a request was refused. Every refusal has one of these, an errno, and a sentence. */
enum dmabufd_code {
    DMABUFD_CODE_OK = 0,
    DMABUFD_CODE_INVALID = 1,        /**< an argument is wrong: the sentence names it */
    DMABUFD_CODE_TOO_LARGE = 2,      /**< more than a limit of the host or of the daemon */
    DMABUFD_CODE_NO_MEMORY = 3,      /**< the host has not enough memory free now */
    DMABUFD_CODE_NO_HUGE_PAGES = 4,  /**< not enough huge pages of the asked size are free */
    DMABUFD_CODE_NOT_A_BUFFER = 5,   /**< the presented fd is not a buffer of this daemon */
    DMABUFD_CODE_NOT_HELD = 6,       /**< this client holds no such buffer */
    DMABUFD_CODE_LIMIT = 7,          /**< a count limit of this client or user is reached */
    DMABUFD_CODE_BACKEND = 8,        /**< the kernel refused to pin or to resolve */
    DMABUFD_CODE_UNSUPPORTED = 9,    /**< this daemon or this host cannot do it at all */
    DMABUFD_CODE_SHUTTING_DOWN = 10, /**< the daemon is ending */
    DMABUFD_CODE_INTERNAL = 11,      /**< a defect of the daemon: please report it */
    DMABUFD_CODE_CONSTRAINTS =
        12, /**< no memory that fits was found: the sentence says how close */

    DMABUFD_CODE_NO_NAME = 20,    /**< no such name, or none that this client may open */
    DMABUFD_CODE_NAME_TAKEN = 21, /**< somebody has published something under this name */
    DMABUFD_CODE_DENIED = 22,     /**< owner, group and mode, or a read-only hold, forbid it */
};

#ifdef __cplusplus
}
#endif

#endif
