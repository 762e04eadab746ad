/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Mock backend: pins and resolves nothing, watches that it is called in the right order, and does
 * what a test wants: fails, refuses to unpin, lies, or keeps a worker waiting.
 *
 * For what the fake backend of the daemon (keeper/fake.c) cannot do.
 */
#ifndef UNIT_MOCK_BACKEND_H
#define UNIT_MOCK_BACKEND_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "daemon/keeper/backend.h"

/** Where the address of each mapping begins, unless a test wants them one behind the other. */
#define MOCK_ADDRESS (UINT64_C(1) << 53)

enum mock_list {
    MOCK_WHOLE,   /* each piece at MOCK_ADDRESS plus its offset */
    MOCK_NOTHING, /* no addresses at all */
    MOCK_SHORT,   /* a page too few */
    MOCK_LONG,    /* a page too many */
};

struct mock {
    struct backend base;
    /* What to do; set before the calls. */
    int begin_error;  /* positive errno, 0: none */
    size_t pin_fails; /* the call with this number (from 1), with EFAULT */
    enum mock_list list;
    atomic_size_t unpins_refused; /* so many from now on, with EBUSY */
    uint64_t gate_size;           /* pins of mappings of at least this size wait for the gate */
    atomic_uint_least64_t next; /* address of the next mapping, behind it the one after; 0: each is
                                   * at MOCK_ADDRESS */
    uint64_t gap;               /* bytes between two of those */
    bool limited;               /* pins fail when nothing is to spare, as where huge pages end */
    atomic_int_least64_t spare; /* bytes */
    /* What happened. */
    atomic_size_t begins, pins, resolves, settles, unpins, ends;
    atomic_size_t waiting;  /* at the gate */
    atomic_size_t disorder; /* calls that must not come, or not yet */
    pthread_mutex_t lock;
    pthread_cond_t moved;
    bool open;
};

/** mock_init() - embedded; nothing is freed by backend_close() but what it made. */
void mock_init(struct mock *mock);

void mock_deinit(struct mock *mock);

/** mock_await() - until @count pins wait at the gate. Return: false if that takes seconds. */
bool mock_await(struct mock *mock, size_t count);

/** mock_open() - let those at the gate, and all that come, go on. */
void mock_open(struct mock *mock);

#endif
