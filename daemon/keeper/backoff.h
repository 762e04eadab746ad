/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Back-off: how long to wait before the next broker is started. Numbers only: time is told to it,
 * and the timer is the supervisor's.
 */
#ifndef KEEPER_BACKOFF_H
#define KEEPER_BACKOFF_H

#include <stdbool.h>
#include <stdint.h>

#include "common/clock.h"

/** Longest wait after a broker that never served: something is wrong that takes a person, ms. */
#define BACKOFF_FAILED_MAX_MS 5000U
/** Longest wait after one that did serve, ms: with the start itself, of a few ms, clients are to be
 *  answered again within 50. */
#define BACKOFF_SERVED_MAX_MS 40U
/** One that lived this long is no reason to wait at all, ns. */
#define BACKOFF_SETTLED_NS NS_PER_S

struct backoff {
    unsigned int next_ms; /* zeroed to begin: the first wait is none */
};

/**
 * backoff_wait() - a broker ended, or could not be started
 * @served: it was ready for clients
 * @lived_ns: from its start to its end, 0 if it could not be started
 *
 * Each wait is twice as long as the one before, up to the bound that fits this end.
 *
 * Return: ms to wait before the next start.
 */
unsigned int backoff_wait(struct backoff *backoff, bool served, uint64_t lived_ns);

#endif
