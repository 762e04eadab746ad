/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reply: the keeper's answers in the words of the protocol. */
#ifndef BROKER_REPLY_H
#define BROKER_REPLY_H

#include "daemon/broker/session.h"

/** reply_hello() - who we are and what may be asked. */
void reply_hello(struct session *session, uint64_t request_id);

/** reply_from_keeper() - pass an answer on; @fds move along where the protocol has them. */
void reply_from_keeper(struct session *session, uint64_t request_id, struct link_reply *answer,
                       struct wire_fds *fds);

#endif
