/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Who is next; see turns.h. */
#include "daemon/keeper/turns.h"

void turns_init(struct turns *turns)
{
    *turns = (struct turns){ 0 };
    TAILQ_INIT(&turns->users);
}

/* Ids of clients count up in their low half, ids of users do anyway. */
static struct turn_bucket *bucket_of_client(struct turns *turns, const struct party *whose)
{
    return &turns->by_client[(whose->client ^ whose->client >> 32) % TURNS_BUCKETS];
}

static struct turn_bucket *bucket_of_user(struct turns *turns, uint32_t uid)
{
    return &turns->by_user[uid % TURNS_BUCKETS];
}

static struct turn *first_of_client(struct turns *turns, const struct party *whose)
{
    struct turn *turn;

    LIST_FOREACH (turn, bucket_of_client(turns, whose), client_bucket) {
        if (turn->whose.client == whose->client && turn->whose.uid == whose->uid)
            return turn;
    }
    return NULL;
}

static struct turn *first_of_user(struct turns *turns, uint32_t uid)
{
    struct turn *turn;

    LIST_FOREACH (turn, bucket_of_user(turns, uid), user_bucket) {
        if (turn->whose.uid == uid)
            return turn;
    }
    return NULL;
}

/* The client is the last of its user from now on; turn->behind is set. */
static void enter_client(struct turns *turns, struct turn *turn)
{
    struct turn *user = first_of_user(turns, turn->whose.uid);

    LIST_INSERT_HEAD(bucket_of_client(turns, &turn->whose), turn, client_bucket);
    if (user) {
        TAILQ_INSERT_TAIL(&user->clients, turn, ring);
        return;
    }
    TAILQ_INIT(&turn->clients);
    LIST_INSERT_HEAD(bucket_of_user(turns, turn->whose.uid), turn, user_bucket);
    TAILQ_INSERT_TAIL(&turns->users, turn, ring);
}

void turns_put(struct turns *turns, struct turn *turn)
{
    struct turn *first = first_of_client(turns, &turn->whose);

    if (first) {
        STAILQ_INSERT_TAIL(&first->behind, turn, next);
        return;
    }
    STAILQ_INIT(&turn->behind);
    enter_client(turns, turn);
}

/* The next client of the user that @turn stood for stands for it now, behind all other users. */
static void pass_user_on(struct turns *turns, struct turn *turn)
{
    struct turn *heir = TAILQ_FIRST(&turn->clients);

    if (!heir)
        return;
    TAILQ_REMOVE(&turn->clients, heir, ring);
    TAILQ_INIT(&heir->clients);
    TAILQ_CONCAT(&heir->clients, &turn->clients, ring);
    LIST_INSERT_HEAD(bucket_of_user(turns, heir->whose.uid), heir, user_bucket);
    TAILQ_INSERT_TAIL(&turns->users, heir, ring);
}

/* The next turn of the client that @turn stood for stands for it now, behind all others of its user. */
static void pass_client_on(struct turns *turns, struct turn *turn)
{
    struct turn *heir = STAILQ_FIRST(&turn->behind);

    if (!heir)
        return;
    STAILQ_REMOVE_HEAD(&turn->behind, next);
    STAILQ_INIT(&heir->behind);
    STAILQ_CONCAT(&heir->behind, &turn->behind);
    enter_client(turns, heir);
}

struct turn *turns_take(struct turns *turns, bool (*may)(void *data, uint32_t uid), void *data)
{
    struct turn *turn;

    TAILQ_FOREACH (turn, &turns->users, ring) {
        if (!may || may(data, turn->whose.uid))
            break;
    }
    if (!turn)
        return NULL;
    TAILQ_REMOVE(&turns->users, turn, ring);
    LIST_REMOVE(turn, user_bucket);
    LIST_REMOVE(turn, client_bucket);
    pass_user_on(turns, turn);
    pass_client_on(turns, turn);
    return turn;
}
