/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Small pages that fit; see sift.h. */
#include "daemon/keeper/sift.h"

#include <errno.h>

#include "daemon/log.h"

#define SCOUT_MIN (UINT64_C(4) << 20)

/* What is good or bad as a whole, in a buffer: a page, or as many as must lie together. 0: too many. */
static uint64_t unit_of(const struct dmabufd_constraints *constraints)
{
    uint64_t unit = PAGE_4K;

    while (unit <= SIFT_UNIT_MAX && (unit < constraints->min_span || unit < constraints->alignment))
        unit *= 2;
    return unit <= SIFT_UNIT_MAX ? unit : 0;
}

/* A part of a span, which is a unit or the end of one. */
static bool fits(const struct dmabufd_constraints *constraints, uint64_t address, uint64_t length)
{
    uint64_t alignment = constraints->alignment ? constraints->alignment : 1;

    return (address & (alignment - 1)) == 0 &&
           (!constraints->dma_mask ||
            (address <= constraints->dma_mask && length - 1 <= constraints->dma_mask - address));
}

/* What becomes of the units that fit, or of those that do not. */
struct picking {
    const struct dmabufd_constraints *constraints;
    uint64_t unit;
    bool good;      /* which of the two */
    bool punch;     /* take them out of the file */
    uint64_t bytes; /* of them */
    uint64_t first; /* address of the first */
};

/* Cannot fail without punching. */
static int pick(const struct buffer *buffer, struct picking *picking)
{
    const struct dmabufd_span *span = buffer->spans.list;

    picking->bytes = 0;
    for (uint64_t at = 0; at < buffer->size; at += picking->unit) {
        uint64_t rest = buffer->size - at, length = rest < picking->unit ? rest : picking->unit;
        uint64_t inside;
        int r = 0;

        while (at - span->offset >= span->length)
            span++;
        inside = at - span->offset;
        if ((span->length - inside >= length &&
             fits(picking->constraints, span->dma_addr + inside, length)) != picking->good)
            continue;
        if (picking->bytes == 0)
            picking->first = span->dma_addr + inside;
        picking->bytes += length;
        if (picking->punch)
            r = memory_empty(buffer->fd, at, length);
        if (r < 0)
            return r;
    }
    return 0;
}

/* Free memory in zones that lie above the mask altogether: the kernel prefers them. */
static uint64_t free_above(uint64_t mask, const struct placement *placement)
{
    struct zones zones;
    uint64_t sum = 0;

    if (mask == 0 || zones_read(ZONES_FILE, &zones) < 0)
        return 0;
    for (size_t i = 0; i < zones.count; i++) {
        if (zones.zone[i].start > mask &&
            (!placement_is_strict(placement) || zones.zone[i].node == placement->node))
            sum += zones.zone[i].free;
    }
    return sum;
}

static unsigned long long mib(uint64_t bytes)
{
    return bytes >> 20;
}

/* Whether to begin at all. @fault says how close the buffer is already. */
static int begin(struct sift *sift, const struct buffer *buffer,
                 const struct dmabufd_constraints *constraints, const struct memory *memory,
                 struct fault *fault)
{
    uint64_t above = free_above(constraints->dma_mask, &buffer->placement);

    LIST_INIT(&sift->held);
    sift->bound = memory_spare(memory, &buffer->placement) / 4;
    if (sift->bound > SIFT_BALLAST_MAX)
        sift->bound = SIFT_BALLAST_MAX;
    if (unit_of(constraints) == 0) {
        fault_prefix(fault, "small pages are not searched for runs of more than %llu KiB",
                     (unsigned long long)(SIFT_UNIT_MAX >> 10));
        return -ENOSPC;
    }
    if (above > sift->bound) {
        fault_prefix(fault,
                     "small pages were not searched, %llu MiB of free memory above the mask would "
                     "come first and %llu MiB may be taken",
                     mib(above), mib(sift->bound));
        return -ENOSPC;
    }
    return 0;
}

/* @fault says how close it came. */
static int give_up(const struct sift *sift, uint64_t off, struct fault *fault)
{
    if (off == 0)
        fault_prefix(fault, "small pages are not searched for fewer segments");
    else
        fault_prefix(fault,
                     "small pages were searched (%u of %u rounds, %llu of %llu MiB held, %u s at "
                     "most)",
                     sift->round, SIFT_ROUNDS, mib(sift->ballast), mib(sift->bound),
                     EFFORT_SECONDS);
    return -ENOSPC;
}

/* The pins of the whole buffer become ballast, what is off is taken out of its file. */
static int set_aside(struct sift *sift, struct buffer *buffer, const struct picking *off,
                     struct memory *memory)
{
    struct picking punch = *off;
    struct buffer *shell = buffer_new();
    int r = shell ? memory_charge(memory, off->bytes, PAGE_4K, NULL) : -ENOMEM;

    if (r < 0) {
        buffer_free(shell);
        return r;
    }
    sift->charged += off->bytes;
    sift->ballast += off->bytes;
    punch.punch = true;
    r = pick(buffer, &punch);
    /* Without a file: only its pins are its own. */
    shell->size = buffer->size;
    shell->page_size = buffer->page_size;
    shell->mapping = buffer->mapping;
    shell->spans = buffer->spans;
    buffer->mapping = (struct mapping){ .fd = buffer->fd };
    buffer->spans = (struct spans){ 0 };
    LIST_INSERT_HEAD(&sift->held, shell, inode_link);
    return r;
}

/* As many small pages alone as there are come before any larger block is broken up. */
static int populate(const struct buffer *buffer, struct memory *memory)
{
    const uint64_t offset = buffer->mapping.pinned;
    const uint64_t length = backend_piece(&buffer->mapping, offset);
    struct policy before;
    int r = placement_enter(&memory->nodes, &buffer->placement, &before, NULL);

    if (r < 0)
        return r;
    r = memory_prepare(memory, &buffer->placement, buffer->fd, PAGE_4K, offset, length, NULL);
    if (r == 0)
        r = memory_populate(buffer->fd, offset, length);
    placement_leave(&before);
    /* Before Linux 5.14 pinning has to do it. */
    return r == -EINVAL ? 0 : r;
}

static int pin_all(struct buffer *buffer, bool movable, struct memory *memory,
                   struct backend *backend, const struct effort *effort)
{
    int r = 0;

    while (r == 0 && buffer->mapping.pinned < buffer->size) {
        r = effort_check(effort);
        if (r == 0 && movable)
            r = populate(buffer, memory);
        if (r == 0)
            r = buffer_next_piece(buffer, memory, backend, NULL);
    }
    return r;
}

static uint64_t left(const struct sift *sift)
{
    return sift->bound > sift->ballast ? sift->bound - sift->ballast : 0;
}

/* So many pages, pinned; NULL: not now. */
static struct buffer *take(const struct buffer *buffer, uint64_t size, bool movable,
                           struct memory *memory, struct backend *backend,
                           const struct effort *effort)
{
    struct buffer *taken = size > 0 ? buffer_new() : NULL;
    int r;

    if (!taken)
        return NULL;
    taken->placement = buffer->placement;
    r = buffer_begin(taken, size, PAGE_4K, memory, backend, NULL);
    if (r == 0)
        r = pin_all(taken, movable, memory, backend, effort);
    if (r == 0)
        return taken;
    buffer_discard(taken, memory, backend);
    return NULL;
}

static void hold(struct sift *sift, struct buffer *buffer, uint64_t bytes)
{
    sift->ballast += bytes;
    LIST_INSERT_HEAD(&sift->held, buffer, inode_link);
}

/* Take many pages at once; what fits goes back to the kernel, the rest stays in the scout's file. */
static void send_scout(struct sift *sift, const struct buffer *buffer, const struct picking *off,
                       struct memory *memory, struct backend *backend, const struct effort *effort)
{
    struct picking good = {
        .constraints = off->constraints, .unit = off->unit, .good = true, .punch = true
    };
    uint64_t most = left(sift);
    uint64_t size = sift->scouted ? 2 * sift->scouted : SCOUT_MIN;
    struct buffer *scout;

    size = (size < most ? size : most) & ~(PAGE_4K - 1);
    scout = take(buffer, size, true, memory, backend, effort);
    if (!scout)
        return;
    sift->scouted = size;
    /* Only when they are unpinned, the kernel has them. */
    if (pick(scout, &good) < 0 || buffer_unpin(scout, backend, NULL) < 0)
        good.bytes = 0;
    hold(sift, scout, size - good.bytes);
}

/* Unmovable pages come one after the other: hold those that are missing to the next aligned one, and
 * a stretch, longer in each round, to get away from where they do not. */
static void skip(struct sift *sift, const struct buffer *buffer, const struct picking *off,
                 struct memory *memory, struct backend *backend, const struct effort *effort)
{
    uint64_t alignment = off->constraints->alignment;
    uint64_t beyond = alignment > PAGE_4K ? off->first & (alignment - 1) : 0;
    uint64_t stretch = off->unit << sift->round;
    uint64_t size = (beyond ? alignment - beyond : 0) + (stretch <= left(sift) / 4 ? stretch : 0);
    struct buffer *skipped = take(buffer, size, false, memory, backend, effort);

    if (skipped)
        hold(sift, skipped, size);
}

/* Whether there is another round in it. */
static bool may_go_on(const struct sift *sift, uint64_t off, const struct effort *effort)
{
    return off > 0 && sift->round < SIFT_ROUNDS && effort_check(effort) == 0 && off <= left(sift);
}

static int exchange(struct sift *sift, struct buffer *buffer, const struct picking *off,
                    struct memory *memory, struct backend *backend, const struct effort *effort)
{
    bool alone = off->unit == PAGE_4K;
    int r = set_aside(sift, buffer, off, memory);

    if (r < 0)
        return r;
    /* Pages given back come in another order: no use to who wants runs. */
    if (alone && sift->round > 1)
        send_scout(sift, buffer, off, memory, backend, effort);
    if (!alone)
        skip(sift, buffer, off, memory, backend, effort);
    r = buffer_begin_again(buffer, backend, NULL);
    return r == 0 ? pin_all(buffer, alone, memory, backend, effort) : r;
}

int sift_round(struct sift *sift, struct buffer *buffer,
               const struct dmabufd_constraints *constraints, struct memory *memory,
               struct backend *backend, struct effort *effort, struct fault *fault)
{
    struct picking off = { .constraints = constraints, .unit = unit_of(constraints) };
    int r;

    if (effort_measure(effort, constraints, &buffer->spans) == 0)
        return 0;
    effort_refuse(effort, constraints, fault);
    effort_begin(effort);
    if (sift->round == 0 && begin(sift, buffer, constraints, memory, fault) < 0)
        return -ENOSPC;
    pick(buffer, &off);
    if (!may_go_on(sift, off.bytes, effort))
        return effort_check(effort) == -ECANCELED ? -ECANCELED : give_up(sift, off.bytes, fault);
    sift->round++;
    r = exchange(sift, buffer, &off, memory, backend, effort);
    if (r < 0)
        return r == -ECANCELED ? r : give_up(sift, off.bytes, fault);
    return effort_measure(effort, constraints, &buffer->spans) == 0 ? 0 : 1;
}

void sift_end(struct sift *sift, struct memory *memory, struct backend *backend)
{
    struct buffer *buffer;

    if (sift->round > 0)
        log_debug("small pages were searched: %u rounds, %llu MiB of ballast", sift->round,
                  mib(sift->ballast));
    while ((buffer = LIST_FIRST(&sift->held))) {
        LIST_REMOVE(buffer, inode_link);
        buffer_discard(buffer, memory, backend);
    }
    memory_release(memory, sift->charged, PAGE_4K);
    *sift = (struct sift){ 0 };
}
