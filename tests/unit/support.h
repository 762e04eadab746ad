/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Support: what the unit tests and the fuzzing targets share. Knows nothing of the test framework,
 * so that it serves programs without one.
 */
#ifndef UNIT_SUPPORT_H
#define UNIT_SUPPORT_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

/** For calls that look whether they were cancelled. */
extern const atomic_bool support_no, support_yes;

/**
 * support_seed() - where random tests begin
 *
 * The same number every time unless $DMABUFD_TEST_SEED is another. Printed as a TAP comment, so that
 * a failure can be repeated.
 */
uint64_t support_seed(void);

/** support_random() - the next number of a sequence (splitmix64); advances @state. */
uint64_t support_random(uint64_t *state);

/** support_below() - a number from 0 to @bound - 1; @bound is not 0. */
uint64_t support_below(uint64_t *state, uint64_t bound);

/** support_fill() - random bytes. */
void support_fill(uint64_t *state, void *bytes, size_t size);

/** support_fds() - how many descriptors this process has open; ends the program if it cannot tell. */
size_t support_fds(void);

/**
 * support_leave_room() - from now on only @count more descriptors can be opened
 * Return: the limit to put back.
 */
uint64_t support_leave_room(unsigned int count);

/** support_restore_room() - as it was before support_leave_room(). */
void support_restore_room(uint64_t saved);

/** support_now_ms() - CLOCK_MONOTONIC, to bound how long a test waits; never to judge speed. */
uint64_t support_now_ms(void);

#endif
