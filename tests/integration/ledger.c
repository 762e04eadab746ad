/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Trees of ranges that do not overlap; see ledger.h. */
#include "tests/integration/ledger.h"

#include <search.h>
#include <stdlib.h>

struct range {
    uint64_t start, end;
    const dmabufd_buffer *owner;
};

/* Ranges that overlap are the same one. */
static int compare(const void *a, const void *b)
{
    const struct range *x = a, *y = b;

    return x->end <= y->start ? -1 : x->start >= y->end;
}

void ledger_init(struct ledger *ledger)
{
    *ledger = (struct ledger){ .lock = PTHREAD_MUTEX_INITIALIZER };
}

void ledger_deinit(struct ledger *ledger)
{
    tdestroy(ledger->device, free);
    tdestroy(ledger->process, free);
    pthread_mutex_destroy(&ledger->lock);
}

static bool enter(void **tree, const dmabufd_buffer *owner, uint64_t start, uint64_t length)
{
    struct range *range = malloc(sizeof(*range)), **found;

    if (!range)
        return false;
    *range = (struct range){ start, start + length, owner };
    found = tsearch(range, tree, compare);
    if (found && *found == range)
        return true;
    free(range);
    return false;
}

static bool strike(void **tree, const dmabufd_buffer *owner, uint64_t start, uint64_t length)
{
    struct range key = { start, start + length, owner }, **found = tfind(&key, tree, compare);
    struct range *range = found ? *found : NULL;

    if (!range || range->owner != owner || range->start != key.start || range->end != key.end)
        return false;
    tdelete(&key, tree, compare);
    free(range);
    return true;
}

/* Does it for every range of the buffer, whatever comes of it. */
static bool each(struct ledger *ledger, const dmabufd_buffer *buffer,
                 bool (*act)(void **tree, const dmabufd_buffer *owner, uint64_t start,
                             uint64_t length))
{
    const struct dmabufd_span *spans;
    size_t count;
    bool good;

    spans = dmabufd_buffer_spans(buffer, &count);
    pthread_mutex_lock(&ledger->lock);
    good = act(&ledger->process, buffer, (uintptr_t)dmabufd_buffer_data(buffer),
               dmabufd_buffer_size(buffer));
    for (size_t i = 0; i < count; i++)
        good = act(&ledger->device, buffer, spans[i].dma_addr, spans[i].length) && good;
    pthread_mutex_unlock(&ledger->lock);
    return good;
}

bool ledger_enter(struct ledger *ledger, const dmabufd_buffer *buffer)
{
    return each(ledger, buffer, enter);
}

bool ledger_strike(struct ledger *ledger, const dmabufd_buffer *buffer)
{
    return each(ledger, buffer, strike);
}
