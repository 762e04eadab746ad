/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * First fit over a sorted array. A shard holds some ten thousand buffers at most and neighbours
 * merge at once, so the array stays short; an insertion moves a few cache lines.
 */
#include "common/extents.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

int extents_init(struct extents *extents, uint64_t start, uint64_t length)
{
    uint64_t end;

    if (length == 0 || __builtin_add_overflow(start, length, &end))
        return -EINVAL;
    *extents = (struct extents){ .free = calloc(8, sizeof(struct extent)), .capacity = 8 };
    if (!extents->free)
        return -ENOMEM;
    extents->free[0] = (struct extent){ .start = start, .length = length };
    extents->count = 1;
    return 0;
}

void extents_deinit(struct extents *extents)
{
    free(extents->free);
    *extents = (struct extents){ 0 };
}

/*
 * With u ranges out there can be at most u + 1 free ones, and a take may cut one more off for
 * alignment; two spare entries beyond that keep extents_give() free of allocation.
 */
static int reserve(struct extents *extents)
{
    size_t want = extents->used + 4;
    struct extent *grown;

    if (want <= extents->capacity)
        return 0;
    want *= 2;
    grown = reallocarray(extents->free, want, sizeof(*grown));
    if (!grown)
        return -ENOMEM;
    extents->free = grown;
    extents->capacity = want;
    return 0;
}

static void insert_at(struct extents *extents, size_t i, struct extent extent)
{
    memmove(&extents->free[i + 1], &extents->free[i], (extents->count - i) * sizeof(extent));
    extents->free[i] = extent;
    extents->count++;
}

static void remove_at(struct extents *extents, size_t i)
{
    extents->count--;
    memmove(&extents->free[i], &extents->free[i + 1],
            (extents->count - i) * sizeof(extents->free[0]));
}

int extents_take(struct extents *extents, uint64_t length, uint64_t alignment, uint64_t *ret_start)
{
    if (length == 0 || alignment == 0 || (alignment & (alignment - 1)))
        return -EINVAL;
    if (reserve(extents) < 0)
        return -ENOMEM;
    for (size_t i = 0; i < extents->count; i++) {
        struct extent *e = &extents->free[i];
        uint64_t lead = -e->start & (alignment - 1);
        uint64_t tail;

        if (lead >= e->length || e->length - lead < length)
            continue;
        *ret_start = e->start + lead;
        tail = e->length - lead - length;
        if (lead && tail)
            insert_at(extents, i + 1, (struct extent){ *ret_start + length, tail });
        if (lead)
            extents->free[i].length = lead;
        else if (tail)
            *e = (struct extent){ *ret_start + length, tail };
        else
            remove_at(extents, i);
        extents->used++;
        return 0;
    }
    return -ENOSPC;
}

/* Index of the first free extent that starts at or after start. */
static size_t lower_bound(const struct extents *extents, uint64_t start)
{
    size_t low = 0, high = extents->count;

    while (low < high) {
        size_t mid = low + (high - low) / 2;

        if (extents->free[mid].start < start)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

int extents_give(struct extents *extents, uint64_t start, uint64_t length)
{
    size_t i = lower_bound(extents, start);
    struct extent *before = i > 0 ? &extents->free[i - 1] : NULL;
    struct extent *after = i < extents->count ? &extents->free[i] : NULL;
    bool joins_before, joins_after;
    uint64_t end;

    if (length == 0 || extents->used == 0 || __builtin_add_overflow(start, length, &end))
        return -EINVAL;
    if ((before && before->start + before->length > start) || (after && after->start < end))
        return -EINVAL;
    joins_before = before && before->start + before->length == start;
    joins_after = after && after->start == end;
    if (joins_before && joins_after) {
        before->length += length + after->length;
        remove_at(extents, i);
    } else if (joins_before) {
        before->length += length;
    } else if (joins_after) {
        after->start = start;
        after->length += length;
    } else {
        /* There is room for whatever extents_take() returned; not so for parts of it. */
        if (extents->count == extents->capacity)
            return -EINVAL;
        insert_at(extents, i, (struct extent){ start, length });
    }
    extents->used--;
    return 0;
}
