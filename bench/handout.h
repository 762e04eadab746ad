/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Handout: the floor of a grant out of the pool. A chain of processes (chain.h) of which the last has
 * files of huge pages, and passes one of them, or some, to whoever asks.
 *
 * It keeps no account of what it passed, checks nothing, and passes a file again when it has no other.
 * The files are not pinned: that was done before, and makes no difference to who maps them.
 */
#ifndef BENCH_HANDOUT_H
#define BENCH_HANDOUT_H

#include <stddef.h>
#include <stdint.h>

#include "bench/chain.h"

/** Files in one answer, and on the shelf. */
#define HANDOUT_FILES_MAX 16

/** Files of @size bytes in huge pages. */
struct shelf {
    int fd[HANDOUT_FILES_MAX];
    uint32_t count;
    uint64_t size;
};

/** shelf_fill() - @count files with all their pages; Return: 0 or a negative errno. */
int shelf_fill(struct shelf *shelf, uint32_t count, uint64_t size);

/** shelf_empty() - safe to repeat. */
void shelf_empty(struct shelf *shelf);

/** handout_serve() - what each process of the chain does; @data: its struct shelf. */
chain_serve handout_serve;

/** What was passed, mapped one behind the other; zero-initialise. */
struct handed {
    unsigned char *data;
    void *place; /* what is to be unmapped */
    uint64_t place_size;
    int fd[HANDOUT_FILES_MAX];
    uint32_t count;
};

/**
 * handout_take() - ask for @count files and map them; exits if that fails
 * @size: of each
 */
void handout_take(const struct chain *chain, uint32_t count, uint64_t size, struct handed *ret);

/** handed_drop() - unmap and close; safe to repeat. */
void handed_drop(struct handed *handed);

#define CLEANUP_SHELF CLEANUP(shelf_empty)

#endif
