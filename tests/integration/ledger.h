/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Ledger: which addresses belong to whom at the moment, for tests in which many threads hold buffers.
 * A buffer that got an address, of the device or of the process, that another one has is found out.
 */
#ifndef TESTS_LEDGER_H
#define TESTS_LEDGER_H

#include <dmabufd.h>
#include <pthread.h>
#include <stdbool.h>

struct ledger {
    pthread_mutex_t lock;
    void *device;  /* tree of ranges, tsearch(3) */
    void *process; /* the same */
};

void ledger_init(struct ledger *ledger);

/** ledger_deinit() - everything was struck out. */
void ledger_deinit(struct ledger *ledger);

/** ledger_enter() - this buffer has its addresses from now on. Return: whether nobody else had one. */
bool ledger_enter(struct ledger *ledger, const dmabufd_buffer *buffer);

/** ledger_strike() - before it is freed. Return: whether its addresses were its own. */
bool ledger_strike(struct ledger *ledger, const dmabufd_buffer *buffer);

#endif
