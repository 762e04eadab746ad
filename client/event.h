/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Event: what happens to a connection without being asked for, until the program takes notice.
 *
 * Nothing is queued: an event is a state that the program has not been told of, so hearing of one
 * needs no memory and cannot fail. dmabufd_dispatch() tells them one by one, in the order in which
 * they can happen: the daemon ends, the connection is lost, each of its buffers is revoked.
 *
 * The program polls an epoll(7) descriptor with two things in it. The socket, edge-triggered, for
 * what nobody reads because no call is being made; and the bell, an eventfd(2), for what a call
 * that was being made has read, and for what one dispatch has left to the next. A dispatch that
 * finds another thread reading leaves the socket to it, and with it possibly the only edge: the
 * last one to read rings the bell then.
 *
 * All functions but event_init() are called with the lock of the connection held.
 */
#ifndef CLIENT_EVENT_H
#define CLIENT_EVENT_H

#include "client/connection.h"

/** event_init() - nothing happened yet. */
void event_init(dmabufd *d);

/** event_close() - close the program's descriptor, if it has one. */
void event_close(dmabufd *d);

/** event_arrived() - the daemon sent an event; an unknown one is ignored. */
void event_arrived(dmabufd *d, const Dmabufd__Proto__Event *message);

/** event_lost() - the connection is dead: its buffers are revoked here. */
void event_lost(dmabufd *d);

/** event_nobody_reads() - no call is waiting for a reply any more. */
void event_nobody_reads(dmabufd *d);

#endif
