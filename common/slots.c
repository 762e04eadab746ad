/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The id table; see slots.h. */
#include "common/slots.h"

#include <errno.h>
#include <stdlib.h>

struct slot {
    void *item;
    uint32_t generation; /* how many ids this place has had before */
    uint32_t next_free;  /* index + 1, 0: none */
};

void slots_init(struct slots *slots, uint32_t limit)
{
    *slots = (struct slots){ .limit = limit };
}

void slots_deinit(struct slots *slots)
{
    free(slots->table);
    *slots = (struct slots){ 0 };
}

static int grow(struct slots *slots)
{
    uint32_t capacity = slots->capacity ? slots->capacity : 16;
    struct slot *table;

    if (slots->capacity >= slots->limit)
        return -ENOSPC;
    if (slots->capacity && __builtin_mul_overflow(slots->capacity, 2, &capacity))
        capacity = slots->limit;
    if (capacity > slots->limit)
        capacity = slots->limit;
    table = reallocarray(slots->table, capacity, sizeof(*table));
    if (!table)
        return -ENOMEM;
    slots->table = table;
    for (uint32_t i = capacity; i-- > slots->capacity;) {
        table[i] = (struct slot){ .next_free = slots->first_free };
        slots->first_free = i + 1;
    }
    slots->capacity = capacity;
    return 0;
}

int slots_add(struct slots *slots, void *item, uint64_t *ret_id)
{
    uint32_t index;
    int r;

    if (!slots->first_free) {
        r = grow(slots);
        if (r < 0)
            return r;
    }
    index = slots->first_free - 1;
    slots->first_free = slots->table[index].next_free;
    slots->table[index].item = item;
    slots->count++;
    *ret_id = (uint64_t)slots->table[index].generation << 32 | (index + 1);
    return 0;
}

static struct slot *find(const struct slots *slots, uint64_t id)
{
    uint32_t index = slots_index(id);

    if (index >= slots->capacity || !slots->table[index].item ||
        slots->table[index].generation != id >> 32)
        return NULL;
    return &slots->table[index];
}

void *slots_get(const struct slots *slots, uint64_t id)
{
    struct slot *slot = find(slots, id);

    return slot ? slot->item : NULL;
}

void *slots_remove(struct slots *slots, uint64_t id)
{
    struct slot *slot = find(slots, id);
    void *item;

    if (!slot)
        return NULL;
    item = slot->item;
    slot->item = NULL;
    slots->count--;
    /* A slot whose generations are used up is retired rather than begun again. */
    if (++slot->generation == 0)
        return item;
    slot->next_free = slots->first_free;
    slots->first_free = (uint32_t)id;
    return item;
}

void *slots_next(const struct slots *slots, uint32_t *cursor)
{
    return slots_next_until(slots, cursor, slots->capacity);
}

void *slots_next_until(const struct slots *slots, uint32_t *cursor, uint32_t end)
{
    if (end > slots->capacity)
        end = slots->capacity;
    while (*cursor < end) {
        void *item = slots->table[(*cursor)++].item;

        if (item)
            return item;
    }
    return NULL;
}
