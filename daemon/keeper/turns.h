/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Turns: a line in which users take turns, and within a user its clients, each of which is served
 * first come, first served. So who has much to be done makes others wait for one step, not for all
 * of it.
 *
 * It allocates nothing: what waits brings a struct turn. Putting in and taking out cost the same
 * however many wait. Not thread-safe.
 */
#ifndef KEEPER_TURNS_H
#define KEEPER_TURNS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

/** On whose account something is done. */
struct party {
    uint32_t uid;
    uint64_t client;
};

/** Somebody's place in a line; zero but for @whose, which must not change while it waits. */
struct turn {
    struct party whose;
    /* What follows is turns.c's. The first turn of a client stands for the client, and the first of
     * these for the user. */
    STAILQ_ENTRY(turn) next;        /* behind the first of its client */
    STAILQ_HEAD(, turn) behind;     /* the first of a client: the others of that client */
    TAILQ_ENTRY(turn) ring;         /* the first of a client: in a ring of users or of clients */
    TAILQ_HEAD(, turn) clients;     /* the first of a user: the first turns of its other clients */
    LIST_ENTRY(turn) client_bucket; /* the first of a client */
    LIST_ENTRY(turn) user_bucket;   /* the first of a user */
};

TAILQ_HEAD(turn_ring, turn);
LIST_HEAD(turn_bucket, turn);

#define TURNS_BUCKETS 512U

struct turns {
    struct turn_ring users; /* the next one first */
    struct turn_bucket by_client[TURNS_BUCKETS];
    struct turn_bucket by_user[TURNS_BUCKETS];
};

/** turns_init() - an empty line. */
void turns_init(struct turns *turns);

/** turns_put() - @turn waits from now on. */
void turns_put(struct turns *turns, struct turn *turn);

/**
 * turns_take() - who is next
 * @may: whether it can be this user's turn now; the others keep their places. NULL: everybody's
 * Return: taken out, or NULL if there is none.
 */
struct turn *turns_take(struct turns *turns, bool (*may)(void *data, uint32_t uid), void *data);

/** turns_empty() - nobody waits. */
static inline bool turns_empty(const struct turns *turns)
{
    return TAILQ_EMPTY(&turns->users);
}

#endif
