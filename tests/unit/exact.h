/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Exact: messages decoded from blocks of exactly their size, into an arena with nothing allowed behind
 * it, so that a sanitizer sees one byte too far.
 */
#ifndef UNIT_EXACT_H
#define UNIT_EXACT_H

#include "proto/message.h"

/** Where the last message was decoded to. */
extern struct message_arena *exact_arena;

/** exact_setup(), exact_teardown() - fixture of a group. */
int exact_setup(void **state);
int exact_teardown(void **state);

/** exact_request(), exact_reply() - decode a copy of @bytes. Return: NULL if it is no message. */
proto_request *exact_request(const void *bytes, size_t size);
proto_reply *exact_reply(const void *bytes, size_t size);

#endif
