/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Choosing ready buffers; see choice.h. */
#include "daemon/keeper/choice.h"

#include <errno.h>
#include <stdlib.h>

#include "common/cleanup.h"
#include "common/segments.h"

/* What devices with addresses of 32 bits reach. */
#define LOW_END (UINT64_C(1) << 32)

bool choice_needs_fit(const struct dmabufd_constraints *constraints)
{
    return (constraints->flags & DMABUFD_CONTIGUOUS) || constraints->dma_mask ||
           constraints->alignment || constraints->min_span || constraints->max_segments;
}

static bool meets(const struct dmabufd_constraints *constraints, const struct dmabufd_span *list,
                  size_t count)
{
    struct fit fit;

    constraints_fit(constraints, list, count, &fit);
    return constraints_met(constraints, &fit, NULL) == 0;
}

static uint64_t mask_of(const struct dmabufd_constraints *constraints)
{
    return constraints->dma_mask ? constraints->dma_mask : UINT64_MAX;
}

/* Less is better: low memory last, then the length of the run. Within a mask of fewer bits all is low. */
static uint64_t rank(uint64_t dma_addr, uint64_t length)
{
    return length + (dma_addr < LOW_END ? UINT64_C(1) << 62 : 0);
}

/* Pieces of a run that will do: the one nearest to an end of it leaves the least cut up. */
struct found {
    size_t first; /* index of a piece */
    size_t count; /* 0: none yet */
    uint64_t rank;
    uint64_t from_end; /* bytes */
};

static bool is_better(const struct found *found, uint64_t rank_, uint64_t from_end)
{
    return found->count == 0 || rank_ < found->rank ||
           (rank_ == found->rank && from_end < found->from_end);
}

/* Pieces that touch, as pool_next_run() finds them, and those of them that are of buffers of one size:
 * each grant looks at all pieces, so this is one pass. */
struct stretch {
    size_t first; /* index of a piece */
    size_t end;
    uint64_t length;
    size_t match; /* the first of that size; end: none */
    size_t last_match;
    uint64_t before; /* bytes of the run before match */
    bool fragmented; /* one of them is only a part of its buffer */
};

static bool next_stretch(const struct pool_set *set, size_t *at, uint64_t size, struct stretch *ret)
{
    const struct pool_piece *pieces = set->pieces;
    uint64_t length = 0, before = 0;
    size_t i = *at, match = SIZE_MAX, last = 0;
    bool fragmented = false;

    if (i == set->count)
        return false;
    do {
        if (pieces[i].size == size) {
            if (match == SIZE_MAX) {
                match = i;
                before = length;
            }
            last = i;
            fragmented |= pieces[i].length != size;
        }
        length += pieces[i++].length;
    } while (i < set->count && pieces[*at].dma_addr + length == pieces[i].dma_addr);
    *ret = (struct stretch){ .first = *at,
                             .end = i,
                             .length = length,
                             .match = match == SIZE_MAX ? i : match,
                             .last_match = last,
                             .before = before,
                             .fragmented = fragmented };
    *at = i;
    return true;
}

/* Return: whether there is no need to look further from the end that is nearest, since others are farther. */
static bool offer_one(const struct pool_set *set, const struct stretch *stretch, size_t i,
                      uint64_t before, const struct dmabufd_constraints *constraints,
                      struct found *found)
{
    const struct pool_piece *piece = &set->pieces[i];
    uint64_t after = stretch->length - before - piece->length;
    uint64_t from_end = before < after ? before : after;
    /* One in several spans is no good for much else. */
    uint64_t rank_ = piece->length < piece->size
                         ? 0
                         : rank(set->pieces[stretch->first].dma_addr, stretch->length);

    if (!is_better(found, rank_, from_end))
        return true;
    if (choice_needs_fit(constraints) &&
        !meets(constraints, piece->buffer->spans.list, piece->buffer->spans.count))
        return false;
    *found = (struct found){ .first = i, .count = 1, .rank = rank_, .from_end = from_end };
    return true;
}

/* From the front, then from the back: what lies between the first that will do and the last is farther
 * from both ends. Where some are fragmented each has a rank of its own, so all are looked at. */
static void look_at(const struct pool_set *set, const struct stretch *stretch, uint64_t size,
                    const struct dmabufd_constraints *constraints, struct found *found)
{
    uint64_t at = stretch->before;

    for (size_t i = stretch->match; i <= stretch->last_match; i++) {
        if (set->pieces[i].size == size && offer_one(set, stretch, i, at, constraints, found) &&
            !stretch->fragmented)
            break;
        at += set->pieces[i].length;
    }
    if (stretch->fragmented)
        return;
    at = set->pieces[stretch->last_match].dma_addr - set->pieces[stretch->first].dma_addr;
    for (size_t i = stretch->last_match; i > stretch->match; i--) {
        if (set->pieces[i].size == size && offer_one(set, stretch, i, at, constraints, found))
            break;
        at -= set->pieces[i - 1].length;
    }
}

struct buffer *choice_one(const struct pool_set *set, uint64_t size,
                          const struct dmabufd_constraints *constraints)
{
    struct found found = { 0 };
    struct stretch stretch;
    size_t at = 0;

    while (next_stretch(set, &at, size, &stretch)) {
        uint64_t rank_ = rank(set->pieces[stretch.first].dma_addr, stretch.length);

        if (stretch.match < stretch.end && (stretch.fragmented || is_better(&found, rank_, 0)))
            look_at(set, &stretch, size, constraints, &found);
    }
    return found.count > 0 ? set->pieces[found.first].buffer : NULL;
}

/* The pieces of @run that are @size bytes together, as one span that meets the constraints. */
static void find_windows(const struct pool_set *set, const struct pool_run *run, uint64_t size,
                         const struct dmabufd_constraints *constraints, struct found *found)
{
    uint64_t rank_ = rank(set->pieces[run->first].dma_addr, run->length);
    size_t first = run->first;
    uint64_t before = 0, sum = 0;

    if (run->length < size || !is_better(found, rank_, 0))
        return;
    for (size_t i = run->first; i < run->first + run->count; i++) {
        uint64_t after, from_end;

        sum += set->pieces[i].length;
        while (sum > size) {
            sum -= set->pieces[first].length;
            before += set->pieces[first++].length;
        }
        after = run->length - before - sum;
        from_end = before < after ? before : after;
        if (sum == size && i - first < PROTO_CHUNKS_MAX && is_better(found, rank_, from_end)) {
            const struct dmabufd_span span = { 0, set->pieces[first].dma_addr, size };

            if (meets(constraints, &span, 1))
                *found = (struct found){
                    .first = first, .count = i - first + 1, .rank = rank_, .from_end = from_end
                };
        }
    }
}

/* Room for every buffer of the set. */
static int begin(const struct pool_set *set, struct choice *choice)
{
    choice->count = 0;
    choice->buffer = calloc(set->count ? set->count : 1, sizeof(struct buffer *));
    return choice->buffer ? 0 : -ENOMEM;
}

void choice_deinit(struct choice *choice)
{
    free(choice->buffer);
    *choice = (struct choice){ 0 };
}

static int add_chunks(const struct pool_set *set, size_t first, size_t count, struct choice *ret)
{
    if (count > PROTO_CHUNKS_MAX - ret->count)
        return -ENOSPC;
    for (size_t i = 0; i < count; i++)
        ret->buffer[ret->count++] = set->pieces[first + i].buffer;
    return 0;
}

static int longest_first(const void *a, const void *b)
{
    const struct pool_run *x = a, *y = b;

    if (x->length != y->length)
        return x->length > y->length ? -1 : 1;
    return x->first < y->first ? -1 : x->first > y->first;
}

/* All runs, longest first. Return: NULL without memory. */
static struct pool_run *list_runs(const struct pool_set *set, bool whole, uint64_t mask,
                                  size_t *ret_count)
{
    /* One more, for the call that finds the end. */
    struct pool_run *runs = calloc(set->count + 1, sizeof(*runs));
    size_t at = 0;

    *ret_count = 0;
    while (runs && pool_next_run(set, &at, whole, mask, &runs[*ret_count]))
        (*ret_count)++;
    if (runs)
        qsort(runs, *ret_count, sizeof(*runs), longest_first);
    return runs;
}

/* The rest of a buffer, out of one of these runs. What all of it must meet, each part must, except for the
 * shortest span, which is not asked of the last one. */
static bool find_rest(const struct pool_set *set, const struct pool_run *runs, size_t count,
                      uint64_t rest, const struct dmabufd_constraints *constraints,
                      struct found *found)
{
    for (size_t i = 0; i < count && runs[i].length >= rest; i++)
        find_windows(set, &runs[i], rest, constraints, found);
    return found->count > 0;
}

static bool meets_together(const struct choice *choice,
                           const struct dmabufd_constraints *constraints)
{
    struct spans spans = { 0 };
    bool met;
    int r = 0;

    for (size_t i = 0; r == 0 && i < choice->count; i++) {
        const struct buffer *chunk = choice->buffer[i];

        r = spans_append(&spans, chunk->spans.list[0].dma_addr, chunk->size);
    }
    met = r == 0 && meets(constraints, spans.list, spans.count);
    spans_deinit(&spans);
    return met;
}

/* The longest runs as they are, and the rest out of one that has it. */
static int scattered(const struct pool_set *set, uint64_t size,
                     const struct dmabufd_constraints *constraints, struct choice *ret)
{
    size_t count, next = 0;
    CLEANUP_FREE struct pool_run *runs = list_runs(set, true, mask_of(constraints), &count);
    uint64_t rest = size;

    if (!runs)
        return -ENOMEM;
    while (rest > 0 && next < count) {
        struct found found = { 0 };

        if (runs[next].length < rest) {
            if (add_chunks(set, runs[next].first, runs[next].count, ret) < 0)
                return -ENOSPC;
            rest -= runs[next++].length;
        } else if (find_rest(set, &runs[next], count - next, rest, constraints, &found)) {
            if (add_chunks(set, found.first, found.count, ret) < 0)
                return -ENOSPC;
            rest = 0;
        } else {
            /* None of those that are long enough has it: each is looked at once only. */
            while (next < count && runs[next].length >= rest)
                next++;
        }
    }
    return rest == 0 && meets_together(ret, constraints) ? 0 : -ENOSPC;
}

int choice_several(const struct pool_set *set, uint64_t size,
                   const struct dmabufd_constraints *constraints, struct choice *ret)
{
    struct found found = { 0 };
    struct pool_run run;
    size_t at = 0;

    if (set->ready < size)
        return -ENOSPC;
    if (begin(set, ret) < 0)
        return -ENOMEM;
    while (pool_next_run(set, &at, true, mask_of(constraints), &run))
        find_windows(set, &run, size, constraints, &found);
    if (found.count > 0)
        return add_chunks(set, found.first, found.count, ret);
    return constraints->flags & DMABUFD_CONTIGUOUS ? -ENOSPC
                                                   : scattered(set, size, constraints, ret);
}

/* A run, whoever its pieces belong to, with room for @size bytes as one span that meets them. */
static bool find_room(const struct pool_set *set, uint64_t size,
                      const struct dmabufd_constraints *constraints, struct pool_run *ret,
                      uint64_t *ret_start)
{
    uint64_t alignment = constraints->alignment ? constraints->alignment : 1;
    struct pool_run run;
    size_t at = 0;
    bool found = false;

    while (pool_next_run(set, &at, false, UINT64_MAX, &run)) {
        uint64_t base = set->pieces[run.first].dma_addr;
        uint64_t start = (base + alignment - 1) & ~(alignment - 1);
        const struct dmabufd_span span = { 0, start, size };

        if (start < base || start - base > run.length || run.length - (start - base) < size ||
            (found && run.length >= ret->length) || !meets(constraints, &span, 1))
            continue;
        *ret = run;
        *ret_start = start;
        found = true;
    }
    return found;
}

/* A buffer in several spans is met more than once. */
static uint64_t give_up(struct buffer *buffer, struct choice *choice)
{
    if (buffer->chosen)
        return 0;
    buffer->chosen = true;
    choice->buffer[choice->count++] = buffer;
    return buffer->size;
}

static uint64_t give_up_run(const struct pool_set *set, const struct pool_run *run, uint64_t start,
                            uint64_t size, struct choice *ret)
{
    uint64_t sum = 0;

    for (size_t i = run->first; i < run->first + run->count; i++) {
        const struct pool_piece *piece = &set->pieces[i];

        if (piece->dma_addr + piece->length > start && piece->dma_addr < start + size)
            sum += give_up(piece->buffer, ret);
    }
    return sum;
}

/* From the ends of the shortest runs. */
static uint64_t give_up_shortest(const struct pool_set *set, uint64_t missing, uint64_t mask,
                                 struct choice *ret)
{
    size_t count;
    CLEANUP_FREE struct pool_run *runs = list_runs(set, false, mask, &count);
    uint64_t sum = 0;

    while (runs && count-- > 0) {
        for (size_t i = runs[count].count; sum < missing && i-- > 0;)
            sum += give_up(set->pieces[runs[count].first + i].buffer, ret);
    }
    return sum;
}

int choice_to_give_up(const struct pool_set *set, uint64_t size, uint64_t missing,
                      const struct dmabufd_constraints *constraints, struct choice *ret)
{
    struct pool_run run;
    uint64_t start, sum = 0;

    if (set->ready < missing)
        return -ENOSPC;
    if (begin(set, ret) < 0)
        return -ENOMEM;
    if (constraints && choice_needs_fit(constraints) &&
        find_room(set, size, constraints, &run, &start))
        sum = give_up_run(set, &run, start, size, ret);
    if (sum < missing)
        sum += give_up_shortest(set, missing - sum, constraints ? mask_of(constraints) : UINT64_MAX,
                                ret);
    for (size_t i = 0; i < ret->count; i++)
        ret->buffer[i]->chosen = false;
    return sum >= missing ? 0 : -ENOSPC;
}
