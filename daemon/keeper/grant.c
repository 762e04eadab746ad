/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Ready buffers for clients; see grant.h. */
#include "daemon/keeper/grant.h"

#include <errno.h>

#include "daemon/keeper/answer.h"
#include "daemon/keeper/choice.h"
#include "daemon/keeper/release.h"

/* Not all of the host's memory is good enough: then what the pool has is worth a page that is too
 * large. */
static bool is_scarce(const struct pool *pool, const struct dmabufd_constraints *constraints)
{
    return constraints->dma_mask && constraints->dma_mask < pool->top;
}

/* Whether it is built of huge pages if there are; as memory_choose() says. */
static bool wants_huge(const struct build *build)
{
    return build->wanted > PAGE_4K || build->asked >= PAGE_2M ||
           memory_wants_runs(&build->constraints);
}

/* The sizes of pages to look for, best first; the same preferences as memory_choose(). */
static size_t page_sizes(const struct pool *pool, const struct build *build, uint64_t ret[2])
{
    size_t n = 0;

    if (build->wanted > 0) {
        if (build->wanted > PAGE_4K)
            ret[n++] = build->wanted;
        return n;
    }
    if (build->asked >= PAGE_1G && build->asked % PAGE_1G == 0)
        ret[n++] = PAGE_1G;
    if (wants_huge(build) || is_scarce(pool, &build->constraints))
        ret[n++] = PAGE_2M;
    return n;
}

/* Sets of these pages that may serve this request, the fullest first: it is called again for the next. */
static struct pool_set *next_set(const struct pool *pool, uint64_t page_size,
                                 const struct dmabufd_constraints *constraints, uint64_t *seen)
{
    struct pool_set *best = NULL;

    for (uint32_t i = 0; i < pool->set_count; i++) {
        struct pool_set *set = &pool->sets[i];

        if (set->page_size != page_size || (*seen >> set->node & 1) ||
            (placement_of(constraints).rule && set->node != constraints->node))
            continue;
        if (!best || set->ready > best->ready)
            best = set;
    }
    if (best)
        *seen |= UINT64_C(1) << best->node;
    return best;
}

/* What is chosen leaves the pool, as one buffer, paid for by the client's user. */
static int take_out(struct service *service, struct client *client, struct pool_set *set,
                    const struct choice *choice, struct buffer **ret, struct fault *fault)
{
    uint32_t weight = choice->count > 1 ? (uint32_t)choice->count + 1 : 1;
    struct buffer *buffer = choice->buffer[0];
    uint64_t size = 0;
    int r = store_reserve(&service->store, client, weight, fault);

    if (r < 0)
        return r;
    for (size_t i = 0; i < choice->count; i++)
        size += choice->buffer[i]->size;
    r = quota_charge(client->user, quota_kind_of(set->page_size), size, fault);
    if (r == 0 && choice->count > 1) {
        r = buffer_assemble(choice->buffer, choice->count, &buffer, fault);
        if (r < 0)
            quota_release(client->user, quota_kind_of(set->page_size), size);
    }
    if (r < 0) {
        store_unreserve(&service->store, client, weight);
        return r;
    }
    if (choice->count == 1)
        pool_remove(&service->pool, set, buffer);
    else
        pool_remove_all(&service->pool, set, choice->buffer, choice->count);
    buffer_drop_list(buffer);
    buffer->payer = quota_again(client->user);
    service->pinned++;
    *ret = buffer;
    return 0;
}

/* Return: 1; 0: the client may not have it like this; negative errno with @fault: what was taken out and
 * could not be given goes back to the kernel. */
static int hand_over(struct service *service, struct client *client, uint64_t tag,
                     struct pool_set *set, const struct choice *choice, struct fault *fault)
{
    struct buffer *buffer;
    int r = take_out(service, client, set, choice, &buffer, fault);

    /* Other pages, or one file instead of several, may be within its limits; else the build says why. */
    if (r < 0)
        return 0;
    r = store_add(&service->store, client, buffer, fault);
    if (r < 0) {
        store_unreserve(&service->store, client, buffer_weight(buffer));
    } else {
        buffer_show(buffer, true);
        r = answer_buffer(service->link, service->backend, LINK_ALLOC, tag, buffer,
                          DMABUFD_READ_WRITE, fault);
        if (r < 0)
            store_drop(&service->store, store_held(&service->store, client, buffer->id), true);
    }
    if (r < 0)
        release_buffer(service, buffer, client_party(client), NULL);
    else
        set->grants++;
    refill_soon(service);
    return r < 0 ? r : 1;
}

/* A mask that all of the set is below asks for nothing. */
static struct dmabufd_constraints relevant(const struct pool_set *set,
                                           const struct dmabufd_constraints *constraints)
{
    const struct pool_piece *last = &set->pieces[set->count - 1];
    struct dmabufd_constraints relevant = *constraints;

    if (last->dma_addr + last->length - 1 <= relevant.dma_mask)
        relevant.dma_mask = 0;
    return relevant;
}

/* @set: not empty. */
static int try_set(struct service *service, struct client *client, uint64_t tag,
                   struct pool_set *set, uint64_t size, const struct dmabufd_constraints *asked,
                   struct fault *fault)
{
    const struct dmabufd_constraints constraints = relevant(set, asked);
    struct buffer *one = choice_one(set, size, &constraints);
    struct choice choice = { .buffer = &one, .count = 1 };
    int r;

    if (one)
        return hand_over(service, client, tag, set, &choice, fault);
    if (!choice_needs_fit(&constraints))
        return 0;
    choice = (struct choice){ 0 };
    r = choice_several(set, size, &constraints, &choice);
    r = r == 0 ? hand_over(service, client, tag, set, &choice, fault) : 0;
    choice_deinit(&choice);
    return r;
}

void grant_give_up(struct service *service, const struct client *client,
                   const struct shortfall *shortfall, struct build *build)
{
    struct pool_set *set = shortfall->set;
    uint64_t size = shortfall->size;
    const struct placement placement = placement_of(&build->constraints);
    struct choice choice = { 0 };
    uint64_t spare;

    /* Not for a request that will fail. */
    if (!set || !wants_huge(build) ||
        !quota_has_room(client->user, quota_kind_of(set->page_size), size))
        return;
    spare = memory_huge_free(service->memory, &placement, set->page_size);
    if (choice_to_give_up(set, size, spare < size ? size - spare : 0, &build->constraints,
                          &choice) < 0)
        choice.count = 0;
    pool_remove_all(&service->pool, set, choice.buffer, choice.count);
    for (size_t i = 0; i < choice.count; i++)
        SLIST_INSERT_HEAD(&build->given_up, choice.buffer[i], given_link);
    choice_deinit(&choice);
}

int grant_try(struct service *service, struct client *client, const struct link_request *request,
              const struct build *build, struct shortfall *ret, struct fault *fault)
{
    uint64_t sizes[2], size;
    size_t count = page_sizes(&service->pool, build, sizes);

    *ret = (struct shortfall){ 0 };
    for (size_t i = 0; i < count; i++) {
        struct pool_set *set;
        uint64_t seen = 0;

        if (memory_round(service->memory, build->asked, sizes[i], &size, NULL) < 0)
            continue;
        while ((set = next_set(&service->pool, sizes[i], &build->constraints, &seen))) {
            int r;

            if ((!ret->set && (set->ready > 0 || set->target > 0)) ||
                (ret->set && ret->set->ready < ret->size && set->ready >= size))
                *ret = (struct shortfall){ .set = set, .size = size };
            if (set->ready < size)
                continue;
            r = try_set(service, client, request->tag, set, size, &build->constraints, fault);
            if (r != 0)
                return r;
        }
    }
    if (ret->set)
        ret->set->misses++;
    return 0;
}
