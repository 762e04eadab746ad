/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Orders: a client without privilege asks the test's root side to let the device copy from the
 * addresses of one of its buffers to those of another, makes the pattern and reads the result.
 *
 * The client's functions return 0, or 1 after a complaint, as CHECK() does.
 */
#ifndef TESTS_VM_ORDERS_H
#define TESTS_VM_ORDERS_H

#include <dmabufd.h>

#include "tests/vm/guest.h"

/** Bytes on both sides of a place that order_edge() copies. */
#define ORDER_EDGE 64U

/** order_pattern() - what order_fill() puts at that offset. */
unsigned char order_pattern(uint64_t offset, unsigned int seed);

/** order_fill() - a pattern that is another one in each page. */
void order_fill(dmabufd_buffer *buffer, unsigned int seed);

/** order_range() - source range to destination range, cut wherever either list has a boundary. */
int order_range(int sock, dmabufd_buffer *source, uint64_t source_offset,
                dmabufd_buffer *destination, uint64_t destination_offset, uint64_t length);

/** order_edge() - the bytes around @at; they come over, and nothing around them is touched. */
int order_edge(int sock, dmabufd_buffer *from, dmabufd_buffer *to, uint64_t at, unsigned int seed);

/** order_places() - order_edge() in the middle and at the first @most boundaries between spans of
 *  @to, and both ends. @from was filled with seed 1, @to is zero. */
int order_places(int sock, dmabufd_buffer *from, dmabufd_buffer *to, size_t most);

/**
 * order_boundaries() - the bytes around every boundary between spans of @from, then of @to
 * @most: at least 2; of a buffer that has more of them the first, the last and random ones
 *
 * And nothing but these bytes comes over. @from was filled with seed 1, @to is zero, and again then.
 * The seed of what is random is printed, and taken from DMABUFD_TEST_SEED.
 */
int order_boundaries(int sock, dmabufd_buffer *from, dmabufd_buffer *to, size_t most);

/** orders_end() - that was all. */
int orders_end(int sock);

/** orders_serve() - on the root side, until orders_end() or the client's end. */
void orders_serve(struct edu *edu, int sock);

/** orders_serve_by() - the same by several devices, which share the orders. */
void orders_serve_by(struct edu *edus, size_t devices, int sock);

#endif
