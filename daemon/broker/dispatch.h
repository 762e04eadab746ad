/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Dispatch: which request may come when, with how many descriptors, and who handles it. */
#ifndef BROKER_DISPATCH_H
#define BROKER_DISPATCH_H

#include "daemon/broker/session.h"

/**
 * dispatch() - check a decoded request and handle it
 * @fds: of the message; a handler takes what it wants
 * Return: 0, answered or under way; -EBADMSG: malformed, the connection is to end.
 */
int dispatch(struct session *session, const proto_request *request, struct wire_fds *fds);

#endif
