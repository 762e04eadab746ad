/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Release: what becomes of a buffer that nobody holds any more. The steps themselves are buffer.c's, and
 * whose it was the store has forgotten.
 */
#ifndef KEEPER_RELEASE_H
#define KEEPER_RELEASE_H

#include "daemon/keeper/service.h"

/**
 * release_buffer() - tear a buffer down, and end its names
 * @whose: in whose turns
 * @reply_to: the request to answer when it is done, or NULL
 *
 * Without memory for a job it is done right here, slow but sure, except what could hang: then a
 * client that kept a descriptor keeps the pages.
 */
void release_buffer(struct service *service, struct buffer *buffer, struct party whose,
                    const struct link_request *reply_to);

/** release_done() - the job of release_buffer() ended. */
void release_done(struct service *service, struct job *job);

/**
 * release_keep() - memory that may not go back stays, pinned, with its descriptor, for good; law 2
 * @why: a sentence for the log
 *
 * What could not be emptied is not pinned any more.
 */
void release_keep(struct service *service, struct buffer *buffer, const char *why);

#endif
