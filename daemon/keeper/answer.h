/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Answer: what the keeper says to its broker, and with which descriptors. */
#ifndef KEEPER_ANSWER_H
#define KEEPER_ANSWER_H

#include "daemon/channel.h"
#include "daemon/keeper/buffer.h"
#include "daemon/link.h"

/**
 * answer_send() - send a reply
 * @link: to the broker; NULL: there is none any more
 * @fds: descriptors move; may be NULL
 *
 * A broker that does not read its replies is not read either (LINK_QUEUE_MAX). One to whom a reply
 * cannot even be queued is ended, because its client would wait for ever.
 */
void answer_send(struct channel *link, const struct link_reply *reply, struct wire_fds *fds);

/** answer_refuse() - send the reason; the errno becomes one that dmabufd.h documents. */
void answer_refuse(struct channel *link, uint32_t op, uint64_t tag, const struct fault *fault);

/**
 * answer_buffer() - the reply to an allocation, look-up, registration or opening that succeeded, with
 * duplicates of the descriptors that the client lacks
 * @access: of the descriptor that the client has or gets
 * Return: 0; -EMFILE with @fault, nothing sent.
 */
int answer_buffer(struct channel *link, const struct backend *backend, uint32_t op, uint64_t tag,
                  const struct buffer *buffer, enum dmabufd_access access, struct fault *fault);

/**
 * answer_chunks() - duplicates of the descriptors of some chunks
 * @first: below buffer->chunk_count
 * @access: which of their files
 * Return: as above.
 */
int answer_chunks(struct channel *link, uint64_t tag, const struct buffer *buffer, uint32_t first,
                  enum dmabufd_access access, struct fault *fault);

/** answer_share() - a duplicate of the buffer's read-only file, which is there. Return: as above. */
int answer_share(struct channel *link, uint64_t tag, const struct buffer *buffer,
                 struct fault *fault);

#endif
