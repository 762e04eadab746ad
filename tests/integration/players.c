/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What each thread does, and what must come of it; see players.h. */
#include "tests/integration/players.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/integration/harness.h"
#include "tests/unit/support.h"

#define THREADS_MAX 32U

struct player {
    struct stage *stage;
    unsigned int me;
    uint64_t seed;
    uint64_t names; /* published so far */
};

/* ---- threads ---- */

struct part {
    int (*function)(void *data);
    void *data;
    int status;
};

static void *run_part(void *data)
{
    struct part *part = data;

    part->status = part->function(part->data);
    return NULL;
}

unsigned int together(unsigned int count, int (*function)(void *data), void *data)
{
    struct part part[THREADS_MAX];
    pthread_t thread[THREADS_MAX];
    unsigned int failed = 0;

    assert_true(count <= THREADS_MAX);
    for (unsigned int i = 0; i < count; i++) {
        part[i] = (struct part){ .function = function, .data = data };
        assert_int_equal(pthread_create(&thread[i], NULL, run_part, &part[i]), 0);
    }
    for (unsigned int i = 0; i < count; i++) {
        pthread_join(thread[i], NULL);
        failed += part[i].status != 0;
    }
    return failed;
}

void stage_init(struct stage *stage, dmabufd *d, unsigned int steps)
{
    memset(stage, 0, sizeof(*stage));
    stage->d = d;
    stage->steps = steps;
    stage->unit = 4096;
    stage->variants = 4;
    ledger_init(&stage->ledger);
    for (unsigned int i = 0; i < PLAYERS * PLAYER_SLOTS; i++)
        pthread_rwlock_init(&stage->slot[i / PLAYER_SLOTS][i % PLAYER_SLOTS].lock, NULL);
}

void stage_deinit(struct stage *stage)
{
    for (unsigned int i = 0; i < PLAYERS * PLAYER_SLOTS; i++)
        pthread_rwlock_destroy(&stage->slot[i / PLAYER_SLOTS][i % PLAYER_SLOTS].lock);
    ledger_deinit(&stage->ledger);
}

static uint64_t below(struct player *player, uint64_t end)
{
    return support_below(&player->seed, end);
}

static struct slot *own_slot(struct player *player)
{
    return &player->stage->slot[player->me][below(player, PLAYER_SLOTS)];
}

static struct slot *any_slot(struct player *player)
{
    return &player->stage->slot[below(player, PLAYERS)][below(player, PLAYER_SLOTS)];
}

/* ---- buffers ---- */

/* At the beginning of each of its pages: whose it is, and which. */
static int check_pattern(const dmabufd_buffer *buffer, uint64_t id)
{
    const char *data = dmabufd_buffer_data(buffer);

    for (uint64_t at = 0; at < dmabufd_buffer_size(buffer);
         at += dmabufd_buffer_page_size(buffer)) {
        const uint64_t want[2] = { id, at };

        CHECK(memcmp(data + at, want, sizeof(want)) == 0);
    }
    return 0;
}

static void write_pattern(dmabufd_buffer *buffer, uint64_t id)
{
    char *data = dmabufd_buffer_data(buffer);

    for (uint64_t at = 0; at < dmabufd_buffer_size(buffer); at += dmabufd_buffer_page_size(buffer))
        memcpy(data + at, (const uint64_t[2]){ id, at }, 2 * sizeof(uint64_t));
}

static int fill(struct player *player, struct slot *slot)
{
    struct stage *stage = player->stage;
    uint64_t size = stage->unit * (1 + player->me + PLAYERS * below(player, stage->variants));
    unsigned int before = atomic_load(&stage->questions);
    dmabufd_buffer *buffer;
    const char *data;

    CHECK((stage->allocate ? stage->allocate : dmabufd_alloc)(stage->d, size, stage->unit,
                                                              &buffer) == 0);
    /* The first of two may have been asked before this began. */
    if (atomic_load(&stage->questions) - before >= 2)
        atomic_fetch_add(&stage->overtaken, 1);
    if (dmabufd_buffer_chunk_count(buffer) > 1)
        atomic_fetch_add(&stage->assembled, 1);
    CHECK(dmabufd_buffer_size(buffer) == size && dmabufd_buffer_page_size(buffer) == stage->unit);
    CHECK(ledger_enter(&stage->ledger, buffer));
    data = dmabufd_buffer_data(buffer);
    for (uint64_t at = 0; at < size; at += stage->unit)
        CHECK(data[at] == 0 && data[at + stage->unit - 1] == 0);
    write_pattern(buffer, dmabufd_buffer_id(buffer));
    pthread_rwlock_wrlock(&slot->lock);
    slot->buffer = buffer;
    slot->id = dmabufd_buffer_id(buffer);
    pthread_rwlock_unlock(&slot->lock);
    atomic_store_explicit(&slot->hint, dmabufd_buffer_data(buffer), memory_order_relaxed);
    return 0;
}

static int empty(struct player *player, struct slot *slot)
{
    dmabufd_buffer *buffer = slot->buffer;
    const char *data = dmabufd_buffer_data(buffer);
    uint64_t address, length;

    pthread_rwlock_wrlock(&slot->lock);
    slot->buffer = NULL;
    pthread_rwlock_unlock(&slot->lock);
    CHECK(check_pattern(buffer, slot->id) == 0);
    CHECK(dmabufd_translate(player->stage->d, data, &address, &length) == 0);
    CHECK(ledger_strike(&player->stage->ledger, buffer));
    CHECK(dmabufd_free(buffer) == 0);
    return 0;
}

static int fill_or_empty(struct player *player)
{
    struct slot *slot = own_slot(player);

    return slot->buffer ? empty(player, slot) : fill(player, slot);
}

/* ---- translation ---- */

/* What the scatter list says of an offset. */
static int expect_address(const dmabufd_buffer *buffer, uint64_t offset, uint64_t address,
                          uint64_t length)
{
    const struct dmabufd_span *spans;
    size_t count, i = 0;

    spans = dmabufd_buffer_spans(buffer, &count);
    while (i + 1 < count && spans[i + 1].offset <= offset)
        i++;
    CHECK(address == spans[i].dma_addr + (offset - spans[i].offset));
    CHECK(length == spans[i].length - (offset - spans[i].offset));
    return 0;
}

static int translate_inside(struct player *player, const dmabufd_buffer *buffer)
{
    const char *data = dmabufd_buffer_data(buffer);
    struct dmabufd_translation answer[4];
    const void *pointer[4];
    uint64_t offset[4], address, length;

    for (size_t i = 0; i < 4; i++) {
        offset[i] = below(player, dmabufd_buffer_size(buffer));
        pointer[i] = data + offset[i];
        CHECK(dmabufd_translate(player->stage->d, pointer[i], &address, &length) == 0);
        CHECK(expect_address(buffer, offset[i], address, length) == 0);
        CHECK(dmabufd_buffer_translate(buffer, offset[i], &address, &length) == 0);
        CHECK(expect_address(buffer, offset[i], address, length) == 0);
    }
    CHECK(dmabufd_translate_pointers(player->stage->d, pointer, 4, answer) == 4);
    for (size_t i = 0; i < 4; i++)
        CHECK(expect_address(buffer, offset[i], answer[i].dma_addr, answer[i].length) == 0);
    return 0;
}

/* Pointers of others, whose buffers may be gone or go just now: the old answer, that of a new buffer
 * in its place, or none, but never a mixture. */
static int translate_wildly(struct player *player)
{
    for (unsigned int i = 0; i < 8; i++) {
        struct slot *slot = any_slot(player);
        const char *data = atomic_load_explicit(&slot->hint, memory_order_relaxed);
        uint64_t address, length, inside = below(player, player->stage->unit);
        int r;

        if (!data)
            continue;
        r = dmabufd_translate(player->stage->d, data + inside, &address, &length);
        CHECK(r == 0 || r == -ENOENT);
        CHECK(r < 0 ||
              (address % player->stage->unit == inside && length > 0 &&
               (length + inside) % player->stage->unit == 0 && length <= 64 * player->stage->unit));
    }
    return 0;
}

/* ---- what can be done with a buffer of one's own or of another's ---- */

static int look_up(struct player *player, const struct slot *slot, int fd,
                   enum dmabufd_access access)
{
    dmabufd_buffer *second;
    uint64_t size = dmabufd_buffer_size(slot->buffer);

    CHECK(dmabufd_lookup(player->stage->d, fd, &second) == 0);
    CHECK(second != slot->buffer && dmabufd_buffer_id(second) == slot->id);
    CHECK(dmabufd_buffer_size(second) == size && dmabufd_buffer_access(second) == access);
    CHECK(dmabufd_buffer_data(second) != dmabufd_buffer_data(slot->buffer));
    CHECK(check_pattern(second, slot->id) == 0);
    CHECK(translate_inside(player, second) == 0);
    CHECK(expect_address(slot->buffer, 0, dmabufd_buffer_spans(second, &(size_t){ 0 })->dma_addr,
                         dmabufd_buffer_spans(second, &(size_t){ 0 })->length) == 0);
    CHECK(dmabufd_free(second) == 0);
    return 0;
}

static int look_up_directly(struct player *player, const struct slot *slot)
{
    return look_up(player, slot, dmabufd_buffer_fd(slot->buffer), DMABUFD_READ_WRITE);
}

static int share(struct player *player, const struct slot *slot)
{
    struct stat shared, own;
    int fd;

    CHECK(dmabufd_share(slot->buffer, &fd) == 0);
    CHECK(fstat(fd, &shared) == 0 && fstat(dmabufd_buffer_fd(slot->buffer), &own) == 0);
    CHECK(shared.st_ino == own.st_ino);
    CHECK(look_up(player, slot, fd, DMABUFD_READ_ONLY) == 0);
    CHECK(close(fd) == 0);
    return 0;
}

static int publish(struct player *player, const struct slot *slot)
{
    char name[DMABUFD_NAME_MAX + 1];
    dmabufd_buffer *opened;

    snprintf(name, sizeof(name), "player-%u-%llu", player->me, (unsigned long long)player->names++);
    CHECK(dmabufd_publish(slot->buffer, name, 0600, DMABUFD_GROUP_OWN) == 0);
    CHECK(dmabufd_open(player->stage->d, name, DMABUFD_READ_WRITE, DMABUFD_OWNER_ANY, &opened) ==
          0);
    CHECK(dmabufd_buffer_id(opened) == slot->id);
    CHECK(dmabufd_free(opened) == 0);
    CHECK(dmabufd_unpublish(player->stage->d, name) == 0);
    return 0;
}

static int with_somebodys(struct player *player,
                          int (*function)(struct player *player, const struct slot *slot))
{
    struct slot *slot = any_slot(player);
    int status = 0;

    pthread_rwlock_rdlock(&slot->lock);
    if (slot->buffer)
        status = function(player, slot);
    pthread_rwlock_unlock(&slot->lock);
    return status;
}

static int translate_somebodys(struct player *player, const struct slot *slot)
{
    return translate_inside(player, slot->buffer);
}

/* ---- questions and refusals ---- */

static int list(struct player *player)
{
    struct dmabufd_buffer_info *info;
    size_t count;

    CHECK(dmabufd_list(player->stage->d, &info, &count) == 0);
    for (unsigned int i = 0; i < PLAYER_SLOTS; i++) {
        const struct slot *slot = &player->stage->slot[player->me][i];
        unsigned int seen = 0;

        for (size_t n = 0; slot->buffer && n < count; n++) {
            if (info[n].id != slot->id)
                continue;
            seen++;
            CHECK(info[n].size == dmabufd_buffer_size(slot->buffer) && info[n].holds >= 1);
        }
        CHECK(seen == (slot->buffer != NULL));
    }
    free(info);
    return 0;
}

static int ask(struct player *player)
{
    struct dmabufd_status status;
    unsigned int mine = 0;

    for (unsigned int i = 0; i < PLAYER_SLOTS; i++)
        mine += player->stage->slot[player->me][i].buffer != NULL;
    CHECK(dmabufd_get_status(player->stage->d, &status) == 0);
    CHECK(status.clients >= 1 && status.buffers >= mine);
    atomic_fetch_add(&player->stage->questions, 1);
    return 0;
}

/* Refused with a sentence that says which of them it was. */
static int be_refused(struct player *player)
{
    dmabufd *d = player->stage->d;
    dmabufd_buffer *buffer = NULL;
    uint64_t odd = 4097 + player->me * 1000 + below(player, 1000);
    char name[64], text[64];
    int fd;

    snprintf(text, sizeof(text), "page size %llu ", (unsigned long long)odd);
    CHECK(dmabufd_alloc(d, 4096, odd, &buffer) == -EINVAL);
    CHECK(strstr(dmabufd_last_error(), text) != NULL);
    snprintf(name, sizeof(name), "nobodys-%llu", (unsigned long long)odd);
    CHECK(dmabufd_open(d, name, DMABUFD_READ_ONLY, DMABUFD_OWNER_ANY, &buffer) == -ENOENT);
    CHECK(dmabufd_last_code() == DMABUFD_CODE_NO_NAME);
    CHECK(dmabufd_alloc(d, (UINT64_C(1) << 50) + odd, 4096, &buffer) < 0);
    CHECK(dmabufd_last_code() != DMABUFD_CODE_OK);
    fd = memfd_create("stranger", MFD_CLOEXEC);
    CHECK(fd >= 0 && ftruncate(fd, 4096) == 0);
    CHECK(dmabufd_lookup(d, fd, &buffer) == -ENXIO);
    CHECK(close(fd) == 0);
    CHECK(buffer == NULL);
    return 0;
}

static int step(struct player *player)
{
    switch (below(player, 16)) {
    case 0:
        return be_refused(player);
    case 1:
        return list(player);
    case 2:
    case 3:
        return ask(player);
    case 4:
        return with_somebodys(player, share);
    case 5:
        return with_somebodys(player, publish);
    case 6:
        return with_somebodys(player, look_up_directly);
    case 7:
        return translate_wildly(player);
    case 8:
    case 9:
    case 10:
        return with_somebodys(player, translate_somebodys);
    default:
        return fill_or_empty(player);
    }
}

int play(void *data)
{
    struct stage *stage = data;
    struct player player = { .stage = stage };

    player.me = atomic_fetch_add(&stage->seats, 1) % PLAYERS;
    player.seed = player.me;
    for (unsigned int i = 0; i < stage->steps; i++)
        CHECK(step(&player) == 0);
    for (unsigned int i = 0; i < PLAYER_SLOTS; i++) {
        struct slot *slot = &stage->slot[player.me][i];

        CHECK(!slot->buffer || empty(&player, slot) == 0);
    }
    return 0;
}
