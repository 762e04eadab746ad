/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Slots: a table of pointers under ids that are never given twice.
 *
 * The low half of an id is the place in the table, counted from 1, the high half how often that place
 * was used before: a look-up is one load and one compare, and the id of what is gone does not name
 * what came after it. Ids are not secrets and never a permission. Not
 * thread-safe.
 */
#ifndef COMMON_SLOTS_H
#define COMMON_SLOTS_H

#include <stddef.h>
#include <stdint.h>

struct slot;

struct slots {
    struct slot *table;
    uint32_t capacity;
    uint32_t limit;      /* never more entries than this */
    uint32_t first_free; /* index + 1, 0: none */
    uint32_t count;
};

/** slots_index() - the place of an id in the table, from 0; UINT32_MAX for one that has none. */
static inline uint32_t slots_index(uint64_t id)
{
    return (uint32_t)id - 1;
}

/** slots_init() - an empty table of at most @limit entries; allocates nothing yet. */
void slots_init(struct slots *slots, uint32_t limit);

/** slots_deinit() - frees the table; the entries belong to the caller. Allowed on a zeroed struct. */
void slots_deinit(struct slots *slots);

/**
 * slots_add() - put @item in
 * @item: not NULL
 * @ret_id: receives the id, never 0
 * Return: 0; -ENOSPC at the limit; -ENOMEM.
 */
int slots_add(struct slots *slots, void *item, uint64_t *ret_id);

/** slots_get() - what is under @id, or NULL. Any number may be asked for. */
void *slots_get(const struct slots *slots, uint64_t id);

/** slots_remove() - take out and return what is under @id, or NULL. */
void *slots_remove(struct slots *slots, uint64_t id);

/**
 * slots_next() - walk the table in index order
 * @cursor: 0 to begin; moved behind the returned entry. Entries may be removed during the walk.
 * Return: the next entry or NULL at the end.
 */
void *slots_next(const struct slots *slots, uint32_t *cursor);

/** slots_next_until() - the same, but the table ends before the place @end, counted from 0. */
void *slots_next_until(const struct slots *slots, uint32_t *cursor, uint32_t end);

#endif
