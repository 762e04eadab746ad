/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Call: send a request, wait for its reply, while other threads do the same on the same socket.
 *
 * There is no thread of the library. Of the callers that wait, one at a time reads the socket
 * (the leader) and hands every reply to whom it belongs; when it has its own, it wakes another to
 * lead. So a program with one thread pays for no hand-over at all. dmabufd_dispatch() reads what is
 * there when nobody leads (event.h).
 */
#ifndef CLIENT_CALL_H
#define CLIENT_CALL_H

#include "client/connection.h"

/**
 * call_run() - one request, one reply
 * @request: its id is filled in
 * @fds: sent along, stay the caller's; or NULL
 * @expected: kind of reply to it; another kind but a refusal ends the connection
 * @ret: filled in on success; its descriptors are the caller's then
 *
 * Allocates nothing.
 *
 * Return: 0; -ENOTCONN; -EPROTO; -EMFILE if @fds could not be sent for now; -ENOMEM; or the
 * negative errno of the daemon's refusal, which is then in @fault with its code.
 */
int call_run(dmabufd *d, proto_request *request, const struct wire_fds *fds,
             Dmabufd__Proto__Reply__BodyCase expected, struct reply *ret, struct fault *fault);

/**
 * call_read_now() - read one message if there is one, for whomever it is
 *
 * Called with the lock held, while the connection lives and nobody reads. Does not wait.
 *
 * Return: whether there may be more.
 */
bool call_read_now(dmabufd *d);

/** call_no_connection() - why it has ended; called with the lock held. Return: -ENOTCONN. */
int call_no_connection(const dmabufd *d, struct fault *fault);

/**
 * call_violation() - the daemon sent what it must not: end the connection
 * @why: what it did, continuing "the daemon broke the protocol: "
 * Return: -EPROTO.
 */
int call_violation(dmabufd *d, const char *why, struct fault *fault);

#endif
