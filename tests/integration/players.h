/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Players: threads that use one connection at once, each in its own order, and know what every answer
 * has to be.
 *
 * Each has slots with buffers of its own. The owner of a slot fills and empties it under its lock for
 * writing; under its lock for reading the others translate, look up and read what is in there. So a
 * buffer that is looked at is not freed meanwhile, but all others are, and new ones come. The size of a
 * buffer tells whose it is.
 */
#ifndef TESTS_PLAYERS_H
#define TESTS_PLAYERS_H

#include <dmabufd.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "tests/integration/ledger.h"

#define PLAYERS      8U
#define PLAYER_SLOTS 4U

struct slot {
    pthread_rwlock_t lock;
    dmabufd_buffer *buffer; /* NULL: empty */
    uint64_t id;
    _Atomic(char *) hint; /* a pointer into it, for who does not take the lock */
};

struct stage {
    dmabufd *d;
    unsigned int steps;    /* of each player */
    uint64_t unit;         /* page size of the buffers */
    unsigned int variants; /* sizes of each player's buffers */
    /* As dmabufd_alloc(); NULL: that. */
    int (*allocate)(dmabufd *d, uint64_t size, uint64_t page_size, dmabufd_buffer **ret);
    struct ledger ledger;
    struct slot slot[PLAYERS][PLAYER_SLOTS];
    _Atomic unsigned int seats;     /* that are taken */
    _Atomic unsigned int questions; /* for the status, answered */
    _Atomic unsigned int
        overtaken; /* allocations meanwhile which such a question was asked and answered */
    _Atomic unsigned int assembled; /* buffers of several files */
};

/** together() - this function in @count threads at once. Return: how many of them returned not 0. */
unsigned int together(unsigned int count, int (*function)(void *data), void *data);

/** stage_init() - of this connection, with buffers of small pages. */
void stage_init(struct stage *stage, dmabufd *d, unsigned int steps);

/** stage_deinit() - after the last player. */
void stage_deinit(struct stage *stage);

/** play() - a player's part, for together(); @data: the stage. Leaves nothing. */
int play(void *data);

#endif
