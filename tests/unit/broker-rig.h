/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Broker rig: a broker in this process, over real socket pairs, with the keeper's end of its link and
 * the clients' ends of its connections in the hands of a test. The mirror of rig.h.
 *
 * Clients speak by tests/integration/raw.h. Asserts with cmocka.
 */
#ifndef UNIT_BROKER_RIG_H
#define UNIT_BROKER_RIG_H

#include "daemon/broker/broker.h"
#include "tests/integration/raw.h"

struct broker_rig {
    struct broker broker;
    int keeper; /* the keeper's end of the link; non-blocking, as all of these */
    struct link_groups groups[LINK_GROUPS_MAX / LINK_GROUPS_CHUNK]; /* the first it was told */
    size_t group_messages;
};

/** The one of every test. */
extern struct broker_rig broker_rig;

/** broker_rig_setup(), broker_rig_teardown() - fixture; nothing may be left open. */
int broker_rig_setup(void **state);
int broker_rig_teardown(void **state);

/** broker_rig_pump() - let the broker do what it can without waiting. */
void broker_rig_pump(void);

/** broker_rig_connect() - a connection, nothing said yet. Return: the client's end. */
int broker_rig_connect(void);

/**
 * broker_rig_greeted() - one whose HELLO was answered, and that the keeper was told of
 * @ret_client: receives the client's number; may be NULL
 */
int broker_rig_greeted(uint64_t *ret_client);

/**
 * broker_rig_asked() - what the broker sent to the keeper next; groups, which depend on who runs the
 * test, are put into broker_rig.groups on the way
 * @ret_fds: may be NULL if it must have no descriptors; the caller's
 * Return: false if there is nothing.
 */
bool broker_rig_asked(struct link_request *ret, struct wire_fds *ret_fds);

/** broker_rig_expect() - it is this, from this client, without descriptors. Return: its tag. */
uint64_t broker_rig_expect(uint32_t op, uint64_t client);

/** broker_rig_answer() - the keeper answers, with @fd_count copies of @fd, which stays ours. */
void broker_rig_answer(const struct link_reply *reply, int fd, size_t fd_count);

/** broker_rig_reply() - the next reply that a client gets; there must be one. */
void broker_rig_reply(int sock, struct raw_reply *ret);

/** broker_rig_silent() - nothing is there for a client, and its connection goes on. */
bool broker_rig_silent(int sock);

#endif
