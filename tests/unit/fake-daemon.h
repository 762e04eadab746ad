/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Fake daemon: a daemon that is played by a test of the library. It greets by itself; everything
 * else it hears and says when the test wants. It asserts with cmocka.
 */
#ifndef UNIT_FAKE_DAEMON_H
#define UNIT_FAKE_DAEMON_H

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cmocka.h>

#include "client/dmabufd.h"
#include "proto/message.h"

struct fake {
    char directory[32];
    struct sockaddr_un address;
    int listener;
    int sock;          /* to the client */
    uint64_t features; /* the answer to HELLO */
    uint64_t asked;    /* what HELLO asked for */
    pthread_t greeter;
};

/**
 * fake_meet() - listen, have the library connect, and greet it
 * @features: to answer HELLO with
 * Return: what dmabufd_connect() returned; the socket is open in any case.
 */
int fake_meet(struct fake *fake, uint64_t features, dmabufd **ret);

/** fake_hear() - the next request. Return: its id. */
uint64_t fake_hear(struct fake *fake);

/**
 * fake_request() - the next request, whole
 * @ret_fds: its descriptors, the caller's
 * Return: valid until the next; NULL when the client has ended the connection.
 */
const proto_request *fake_request(struct fake *fake, struct wire_fds *ret_fds);

/** fake_say() - send a message. */
void fake_say(const struct fake *fake, const proto_reply *reply, const struct wire_fds *fds);

/** fake_say_event() - an event of this kind. */
void fake_say_event(const struct fake *fake, int kind);

/** fake_say_status() - the answer to a StatusRequest, with 7 clients. */
void fake_say_status(const struct fake *fake, uint64_t id);

#endif
