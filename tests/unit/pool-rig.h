/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Pool rig: a keeper (rig.h) with a mock backend on a host that seems to have huge pages: files say so
 * (hugepages.h), and allocating them succeeds and does nothing. How many there are is mock.spare; where they
 * are, one behind the other, mock.next.
 *
 * A program with it is linked with pool_rig_ldflags (local.mk).
 */
#ifndef UNIT_POOL_RIG_H
#define UNIT_POOL_RIG_H

#include "tests/unit/mock-backend.h"
#include "tests/unit/rig.h"

#define CLIENTS 4
#define BUFFERS 20 /* of a client */
#define ADMIN   1U /* a client, root; there from the start */
#define USER    2U /* of the user 1000; there from the start */
#define OTHER   3U /* of the user 1001; there from the start */
#define START   (UINT64_C(1) << 40)

extern struct rig rig;
extern struct mock mock;
extern struct link_reply reply; /* the last one */

/** pool_rig_can() - what main() asks first. Return: false where one cannot pretend. */
bool pool_rig_can(void);

/** pool_rig_setup(), pool_rig_teardown() - fixture; nothing may be left. Skips if pool_rig_can() said so. */
int pool_rig_setup(void **state);
int pool_rig_teardown(void **state);

/** pool_set_of() - the set of the only node. */
struct pool_set *pool_set_of(uint64_t page_size);

/** pool_2m() - that of 2 MiB. */
struct pool_set *pool_2m(void);

/** store() - the keeper's. */
const struct store *store(void);

/** held_by(), used_by() - what is counted of a client, and of its user in pages of 2 MiB, bytes. */
uint32_t held_by(uint64_t client);
uint64_t used_by(uint64_t client);

/** pool_user() - of a client. */
const struct quota_user *pool_user(uint64_t client);

/** expect_untouched() - so many pages are ready, and USER has nothing. */
void expect_untouched(uint64_t pages);

/** forgive() - what the kernel was told not to unpin is as if it never was. */
void forgive(void);

/** tell() - a request straight to the service, so that nothing else happens meanwhile. */
int tell(uint32_t op, uint64_t client, uint64_t tag);

/** ask() - a request and its answer. Return: the positive errno, 0. */
int ask(struct link_request request, int fd, struct wire_fds *fds);

/** alloc() - a number of bytes, of pages of 2 MiB. Return: as ask(). */
int alloc(uint64_t client, uint64_t size, const struct dmabufd_constraints *constraints,
          struct wire_fds *fds);

int let_go(uint64_t client, uint64_t buffer);
int resize(uint64_t client, uint64_t page_size, uint64_t pages);

/** fill() - set a target for 2 MiB and wait until it is there. */
void fill(uint64_t pages);

/** await_ready() - so many bytes in a set, and nobody at work. */
void await_ready(struct pool_set *set, uint64_t bytes);

#endif
