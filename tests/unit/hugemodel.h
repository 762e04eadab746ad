/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Hugemodel: a host whose huge pages are last in, first out, as the kernel's are. Memory is numbers
 * here: a page is free, or in a file, or pinned without one. Each allocation and each pin is a call
 * with a number, at which a test can let things happen.
 *
 * Stands in for memory_create(), memory_prepare(), memory_empty(), memory_huge_free() and
 * buffer_discard() by --wrap.
 */
#ifndef UNIT_HUGEMODEL_H
#define UNIT_HUGEMODEL_H

#include <stdbool.h>

#include "daemon/keeper/buffer.h"
#include "daemon/keeper/effort.h"

#define PAGES_MAX 20000U
#define FILES_MAX 64U
#define FILE_MAX  8192U /* pages */

/* The buffer of a test, pages, and where a run for it is, if there is one. */
#define BUFFER 8U
#define RUN_AT 100U

struct model_file {
    ino_t inode; /* 0: not used */
    uint32_t pages[FILE_MAX];
};

extern struct model {
    struct backend base;
    uint64_t address[PAGES_MAX];
    unsigned int pins_of[PAGES_MAX];
    bool in_file[PAGES_MAX];
    uint32_t page_count; /* the first is none */
    uint32_t free[PAGES_MAX];
    size_t free_count; /* huge ones; small ones are made up */
    size_t least_free; /* since make_buffer() */
    struct model_file files[FILES_MAX];
    uint32_t pinned[FILES_MAX][FILE_MAX];
    size_t mapping_count;
    size_t pins; /* of all pages */
    /* What happens, and at which call since make_buffer(), from 1; 0: never. */
    size_t calls;
    size_t fails_at;
    size_t late_at;
    size_t cancelled_at;
    size_t taken_at; /* somebody else takes so many */
    size_t taken;
} model;

extern struct memory memory;
extern struct buffer *buffer;
extern struct effort effort;
extern struct effort *watched; /* whose time late_at ends */
extern atomic_bool cancelled;

/** host() - a new one, without pages. */
void host(void);

/** give_free() - a free page at that multiple of 2 MiB: the last one given is the first one taken. */
void give_free(unsigned int number);

/** give_apart() - pages of which none touches another. */
void give_apart(unsigned int first, unsigned int count);

/** give_run() - BUFFER pages that touch, in no order. */
void give_run(void);

/** make_buffer() - of what was given last. */
void make_buffer(void);

/** scattered_buffer() - and a run behind @before pages that are free, before @after others. */
void scattered_buffer(unsigned int before, unsigned int after);

/** is_whole() - the buffer is, and nothing else is pinned. */
bool is_whole(void);

/** assert_found() - the buffer is the run. */
void assert_found(void);

/** end() - nothing but the buffer is left, and then nothing at all; @lost pages are somebody else's. */
void end(size_t lost);

#endif
