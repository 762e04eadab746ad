/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Registry: all connections of the process, so that a forked child can let go of them.
 *
 * A child that kept its copy of the socket would keep the connection, and all memory held through
 * it, alive after its parent died; one that used it would answer for its parent. So in the child
 * every connection is ended and its copy of the socket closed before fork() returns there. Buffers
 * stay mapped. A child made with vfork(2) or posix_spawn(3) has nothing to let go of: it gets rid
 * of the sockets when it executes its program.
 */
#ifndef CLIENT_REGISTRY_H
#define CLIENT_REGISTRY_H

#include "client/connection.h"

/**
 * registry_open_socket() - make the socket of @d, and register @d
 *
 * Both in one step as seen from fork(): no child can have a copy of a socket that is not
 * registered.
 *
 * Return: 0; -ENOMEM; or a negative errno of socket(2).
 */
int registry_open_socket(dmabufd *d);

/** registry_close_socket() - close the descriptors of @d if it has any, and forget @d. */
void registry_close_socket(dmabufd *d);

#endif
