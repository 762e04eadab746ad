/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Loop: making the event loop of a daemon process. */
#ifndef DAEMON_LOOP_H
#define DAEMON_LOOP_H

#include <event2/event.h>

/**
 * loop_new() - an event loop in which no event source starves the others
 *
 * A callback that activates its own event would else be called again before any other is looked at.
 *
 * Return: NULL without memory.
 */
struct event_base *loop_new(void);

#endif
