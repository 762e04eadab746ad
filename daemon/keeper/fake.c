/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The fake backend: no privilege, no pin, scripted layouts and faults, for tests and development.
 *
 * Its addresses begin at 2^52, above what any x86 or Arm device can put on a bus, so that one that
 * escapes into a driver harms nothing. It is never chosen automatically.
 *
 * Script, comma-separated: layout=one (default) | run:SIZE (gaps between runs) | reverse:SIZE (runs
 * in descending order); nodes=N (pretend NUMA nodes 0 to N-1, default 1; memory is on the node asked
 * for, or on the next one that has room); node-size=SIZE (each of them has so much); stray=N (the Nth
 * mapping, from 1, is not on its node but on the next); fail=pin@N:ERRNO and fail=resolve@N:ERRNO (the Nth such call fails, from 1);
 * delay=MS (each pin takes that long).
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/cleanup.h"
#include "common/parse.h"
#include "daemon/keeper/backend.h"

#define FAKE_BASE  (UINT64_C(1) << 52)
#define FAKE_ALIGN (UINT64_C(1) << 30)
/* Between the addresses of two nodes. */
#define FAKE_NODE  (UINT64_C(1) << 48)
#define FAKE_NODES 8U

enum layout { LAYOUT_ONE, LAYOUT_RUN, LAYOUT_REVERSE };

/** The Nth call fails. */
struct scripted_fault {
    uint64_t at;
    int error;
    uint64_t calls;
};

struct fake {
    struct backend base;
    enum layout layout;
    uint64_t unit;
    uint64_t delay_ms;
    pthread_mutex_t lock;
    struct scripted_fault pin_fault;
    struct scripted_fault resolve_fault;
    uint64_t next;
    uint64_t node_count;
    uint64_t node_size; /* bytes */
    uint64_t node_used[FAKE_NODES];
    uint64_t stray_at;
    uint64_t begins;
};

static void fake_close(struct backend *backend)
{
    struct fake *fake = (struct fake *)backend;

    pthread_mutex_destroy(&fake->lock);
    free(fake);
}

static int scripted(struct fake *fake, struct scripted_fault *script, const char *what,
                    struct fault *fault)
{
    bool hit;

    pthread_mutex_lock(&fake->lock);
    hit = ++script->calls == script->at;
    pthread_mutex_unlock(&fake->lock);
    if (!hit)
        return 0;
    return fault_set(fault, DMABUFD_CODE_BACKEND, script->error, "scripted failure of %s", what);
}

/* With the lock held. */
static int choose_node(struct fake *fake, const struct mapping *mapping, uint32_t *ret,
                       struct fault *fault)
{
    uint32_t node = mapping->placement.node;
    bool stray = ++fake->begins == fake->stray_at;

    for (uint64_t i = stray; i < fake->node_count; i++) {
        *ret = (uint32_t)((node + i) % fake->node_count);
        if (fake->node_size - fake->node_used[*ret] >= mapping->size)
            return 0;
        if (placement_is_strict(&mapping->placement) && !stray)
            return fault_set(fault, DMABUFD_CODE_NO_MEMORY, ENOMEM,
                             "pretended node %u has %llu MiB of memory free", node,
                             (unsigned long long)((fake->node_size - fake->node_used[*ret]) >> 20));
    }
    return fault_set(fault, DMABUFD_CODE_NO_MEMORY, ENOMEM,
                     "no pretended node has that much memory free");
}

static int fake_begin(struct backend *backend, struct mapping *mapping, struct fault *fault)
{
    struct fake *fake = (struct fake *)backend;
    uint32_t node = 0;
    uint64_t room;
    int r;

    /* Twice the size leaves the gaps; an address is never used twice. */
    if (__builtin_mul_overflow(mapping->size, 2, &room) ||
        __builtin_add_overflow(room, 2 * FAKE_ALIGN, &room))
        return fault_set(fault, DMABUFD_CODE_TOO_LARGE, E2BIG, "too large for the fake backend");
    room &= ~(FAKE_ALIGN - 1);
    pthread_mutex_lock(&fake->lock);
    r = choose_node(fake, mapping, &node, fault);
    if (r == 0) {
        mapping->u.fake.base = fake->next + node * FAKE_NODE;
        fake->next += room;
        fake->node_used[node] += mapping->size;
    }
    pthread_mutex_unlock(&fake->lock);
    return r;
}

static int fake_pin(struct backend *backend, struct mapping *mapping, uint64_t offset,
                    uint64_t length, struct fault *fault)
{
    struct fake *fake = (struct fake *)backend;
    struct timespec delay = { (time_t)(fake->delay_ms / 1000),
                              (long)(fake->delay_ms % 1000) * 1000000 };

    if (fake->delay_ms)
        nanosleep(&delay, NULL);
    if (!mapping->foreign && fallocate(mapping->fd, 0, (off_t)offset, (off_t)length) < 0)
        return fault_set(fault, DMABUFD_CODE_NO_MEMORY, ENOMEM,
                         "the kernel could not allocate the memory: %s", strerror(errno));
    return scripted(fake, &fake->pin_fault, "pin", fault);
}

static uint64_t fake_address(const struct fake *fake, const struct mapping *mapping, uint64_t unit,
                             uint64_t offset)
{
    uint64_t index = offset / unit;

    switch (fake->layout) {
    case LAYOUT_RUN:
        return mapping->u.fake.base + index * 2 * unit + offset % unit;
    case LAYOUT_REVERSE:
        return mapping->u.fake.base + ((mapping->size - 1) / unit - index) * unit + offset % unit;
    case LAYOUT_ONE:
        break;
    }
    return mapping->u.fake.base + offset;
}

static int fake_resolve(struct backend *backend, struct mapping *mapping, uint64_t offset,
                        uint64_t length, struct spans *spans, struct fault *fault)
{
    struct fake *fake = (struct fake *)backend;
    uint64_t unit = fake->unit > mapping->page_size ? fake->unit : mapping->page_size;
    uint64_t end = offset + length;
    int r = scripted(fake, &fake->resolve_fault, "resolve", fault);

    while (r == 0 && offset < end) {
        uint64_t run = unit - offset % unit < end - offset ? unit - offset % unit : end - offset;

        r = spans_append(spans, fake_address(fake, mapping, unit, offset), run);
        if (r < 0)
            return fault_set(fault, DMABUFD_CODE_NO_MEMORY, -r,
                             "the daemon has no memory for the scatter list");
        offset += run;
    }
    return r;
}

static int fake_unpin(struct backend *backend, struct mapping *mapping, uint64_t offset,
                      uint64_t length, struct fault *fault)
{
    (void)backend;
    (void)mapping;
    (void)offset;
    (void)length;
    (void)fault;
    return 0;
}

static uint32_t node_of(uint64_t address)
{
    return (uint32_t)((address - FAKE_BASE) / FAKE_NODE);
}

static uint64_t fake_nodes_of(struct backend *backend, const struct dmabufd_span *list,
                              size_t count)
{
    uint64_t set = 0;

    (void)backend;
    for (size_t i = 0; i < count; i++)
        set |= UINT64_C(1) << node_of(list[i].dma_addr);
    return set;
}

static void fake_end(struct backend *backend, struct mapping *mapping)
{
    struct fake *fake = (struct fake *)backend;

    pthread_mutex_lock(&fake->lock);
    fake->node_used[node_of(mapping->u.fake.base)] -= mapping->size;
    pthread_mutex_unlock(&fake->lock);
}

static const struct backend_ops fake_ops = {
    .close = fake_close,
    .begin = fake_begin,
    .pin = fake_pin,
    .resolve = fake_resolve,
    .unpin = fake_unpin,
    .nodes_of = fake_nodes_of,
    .end = fake_end,
};

static int errno_by_name(const char *name)
{
    for (int error = 1; error < 134; error++) {
        const char *known = strerrorname_np(error);

        if (known && strcmp(known, name) == 0)
            return error;
    }
    return -EINVAL;
}

/* "N:ERRNO" */
static int parse_fault(char *text, struct scripted_fault *script)
{
    char *colon = strchr(text, ':');

    if (!colon)
        return -EINVAL;
    *colon = '\0';
    script->error = errno_by_name(colon + 1);
    return script->error < 0 ? -EINVAL : parse_number(text, 1, UINT64_MAX, &script->at);
}

static int parse_unit(const char *text, struct fake *fake, enum layout layout)
{
    fake->layout = layout;
    if (parse_size(text, &fake->unit) < 0 || fake->unit < 4096 || fake->unit > FAKE_ALIGN ||
        (fake->unit & (fake->unit - 1)))
        return -EINVAL;
    return 0;
}

static int parse_word(char *word, struct fake *fake)
{
    if (strcmp(word, "layout=one") == 0)
        return 0;
    if (strncmp(word, "layout=run:", 11) == 0)
        return parse_unit(word + 11, fake, LAYOUT_RUN);
    if (strncmp(word, "layout=reverse:", 15) == 0)
        return parse_unit(word + 15, fake, LAYOUT_REVERSE);
    if (strncmp(word, "fail=pin@", 9) == 0)
        return parse_fault(word + 9, &fake->pin_fault);
    if (strncmp(word, "fail=resolve@", 13) == 0)
        return parse_fault(word + 13, &fake->resolve_fault);
    if (strncmp(word, "nodes=", 6) == 0)
        return parse_number(word + 6, 1, FAKE_NODES, &fake->node_count);
    if (strncmp(word, "node-size=", 10) == 0)
        return parse_size(word + 10, &fake->node_size);
    if (strncmp(word, "stray=", 6) == 0)
        return parse_number(word + 6, 1, UINT64_MAX, &fake->stray_at);
    if (strncmp(word, "delay=", 6) == 0)
        return parse_number(word + 6, 0, 60000, &fake->delay_ms);
    return -EINVAL;
}

static int parse_script(const char *script, struct fake *fake, struct fault *fault)
{
    CLEANUP_FREE char *copy = strdup(script);
    char *rest = copy, *word;

    if (!copy)
        return fault_set(fault, DMABUFD_CODE_NO_MEMORY, ENOMEM, "out of memory");
    while ((word = strsep(&rest, ","))) {
        CLEANUP_FREE char *shown = strdup(word);

        if (*word && parse_word(word, fake) < 0)
            return fault_set(fault, DMABUFD_CODE_INVALID, EINVAL,
                             "--fake: '%s' is not understood, see dmabufd(8)",
                             shown ? shown : word);
    }
    return 0;
}

int fake_backend_open(const struct backend_config *config, struct backend **ret,
                      struct fault *fault)
{
    struct fake *fake = calloc(1, sizeof(*fake));
    int r;

    if (!fake)
        return fault_set(fault, DMABUFD_CODE_NO_MEMORY, ENOMEM, "out of memory");
    fake->base = (struct backend){
        .ops = &fake_ops, .name = "fake", .mode = DMABUFD_MODE_FAKE, .pin = DMABUFD_PIN_NONE
    };
    fake->next = FAKE_BASE;
    fake->node_count = 1;
    fake->node_size = UINT64_MAX;
    pthread_mutex_init(&fake->lock, NULL);
    r = config->fake ? parse_script(config->fake, fake, fault) : 0;
    if (r < 0) {
        fake_close(&fake->base);
        return r;
    }
    fake->base.nodes = (UINT64_C(1) << fake->node_count) - 1;
    *ret = &fake->base;
    return 0;
}
