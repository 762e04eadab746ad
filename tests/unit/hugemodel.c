/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Memory of numbers; see hugemodel.h. */
#include "tests/unit/hugemodel.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/cmocka-all.h"

struct model model;
struct memory memory;
struct buffer *buffer;
struct effort effort, *watched;
atomic_bool cancelled;

static void give(uint32_t page)
{
    if (!model.in_file[page] && model.pins_of[page] == 0)
        model.free[model.free_count++] = page;
}

/* Return: whether this call fails. */
static bool call(void)
{
    size_t now = ++model.calls;

    if (now == model.late_at)
        watched->deadline_ns = 1;
    if (now == model.cancelled_at)
        atomic_store(&cancelled, true);
    for (size_t i = 0; now == model.taken_at && i < model.taken && model.free_count > 0; i++)
        model.free_count--;
    return now == model.fails_at;
}

static struct model_file *file_of(int fd)
{
    struct stat st;
    size_t i = 0;

    assert_int_equal(fstat(fd, &st), 0);
    while (i < FILES_MAX && model.files[i].inode != st.st_ino)
        i++;
    for (size_t j = 0; i == FILES_MAX && j < FILES_MAX; j++)
        i = model.files[j].inode == 0 ? j : i;
    assert_true(i < FILES_MAX);
    model.files[i].inode = st.st_ino;
    return &model.files[i];
}

/* ---- the kernel's side ---- */

int __wrap_memory_create(struct memory *of, uint64_t size, uint64_t page_size, int *ret_fd,
                         struct fault *why);
int __wrap_memory_prepare(struct memory *of, const struct placement *placement, int fd,
                          uint64_t page_size, uint64_t offset, uint64_t length, struct fault *why);
int __wrap_memory_empty(int fd, uint64_t offset, uint64_t length);
uint64_t __wrap_memory_huge_free(const struct memory *of, const struct placement *placement,
                                 uint64_t page_size);
void __wrap_buffer_discard(struct buffer *discarded, struct memory *of, struct backend *backend);
void __real_buffer_discard(struct buffer *discarded, struct memory *of, struct backend *backend);

int __wrap_memory_create(struct memory *of, uint64_t size, uint64_t page_size, int *ret_fd,
                         struct fault *why)
{
    assert_true(size / page_size <= FILE_MAX);
    *ret_fd = memfd_create("model", MFD_CLOEXEC);
    assert_true(*ret_fd >= 0);
    return memory_charge(of, size, page_size, why);
}

int __wrap_memory_prepare(struct memory *of, const struct placement *placement, int fd,
                          uint64_t page_size, uint64_t offset, uint64_t length, struct fault *why)
{
    struct model_file *file = file_of(fd);

    (void)of;
    (void)placement;
    if (call())
        return fault_set(why, DMABUFD_CODE_NO_HUGE_PAGES, ENOMEM, "this one fails");
    for (uint64_t i = offset / page_size; i < (offset + length) / page_size; i++) {
        if (file->pages[i] > 0)
            continue;
        if (page_size != PAGE_4K && model.free_count == 0)
            return fault_set(why, DMABUFD_CODE_NO_HUGE_PAGES, ENOMEM, "no page is free");
        if (page_size == PAGE_4K) {
            file->pages[i] = ++model.page_count;
            assert_true(model.page_count < PAGES_MAX);
            model.address[model.page_count] = (1000 + 2 * model.page_count) * PAGE_4K;
        } else {
            file->pages[i] = model.free[--model.free_count];
        }
        model.in_file[file->pages[i]] = true;
    }
    model.least_free = model.free_count < model.least_free ? model.free_count : model.least_free;
    return 0;
}

int __wrap_memory_empty(int fd, uint64_t offset, uint64_t length)
{
    struct model_file *file = file_of(fd);

    for (uint64_t i = offset / PAGE_2M; i < (offset + length) / PAGE_2M; i++) {
        assert_true(file->pages[i] > 0);
        model.in_file[file->pages[i]] = false;
        give(file->pages[i]);
        file->pages[i] = 0;
    }
    return 0;
}

uint64_t __wrap_memory_huge_free(const struct memory *of, const struct placement *placement,
                                 uint64_t page_size)
{
    (void)of;
    (void)placement;
    return model.free_count * page_size;
}

/* Its file ends, too. */
void __wrap_buffer_discard(struct buffer *discarded, struct memory *of, struct backend *backend)
{
    struct model_file *file = discarded && discarded->fd >= 0 ? file_of(discarded->fd) : NULL;

    __real_buffer_discard(discarded, of, backend);
    for (size_t i = 0; file && i < FILE_MAX; i++) {
        if (file->pages[i] == 0)
            continue;
        model.in_file[file->pages[i]] = false;
        give(file->pages[i]);
    }
    if (file)
        memset(file, 0, sizeof(*file));
}

static int model_begin(struct backend *backend, struct mapping *mapping, struct fault *why)
{
    (void)backend;
    (void)why;
    mapping->u.fake.base = model.mapping_count++ % FILES_MAX;
    return 0;
}

static int model_pin(struct backend *backend, struct mapping *mapping, uint64_t offset,
                     uint64_t length, struct fault *why)
{
    struct model_file *file = file_of(mapping->fd);
    uint32_t *pinned = model.pinned[mapping->u.fake.base];

    (void)backend;
    if (call())
        return fault_set(why, DMABUFD_CODE_NO_MEMORY, ENOMEM, "this pin fails");
    for (uint64_t i = offset / mapping->page_size; i < (offset + length) / mapping->page_size;
         i++) {
        assert_true(file->pages[i] > 0);
        pinned[i] = file->pages[i];
        model.pins_of[pinned[i]]++;
        model.pins++;
    }
    return 0;
}

static int model_resolve(struct backend *backend, struct mapping *mapping, uint64_t offset,
                         uint64_t length, struct spans *spans, struct fault *why)
{
    (void)backend;
    (void)why;
    for (uint64_t i = offset / mapping->page_size; i < (offset + length) / mapping->page_size; i++)
        assert_int_equal(spans_append(spans, model.address[model.pinned[mapping->u.fake.base][i]],
                                      mapping->page_size),
                         0);
    return 0;
}

static int model_unpin(struct backend *backend, struct mapping *mapping, uint64_t offset,
                       uint64_t length, struct fault *why)
{
    (void)backend;
    (void)why;
    for (uint64_t i = offset / mapping->page_size; i < (offset + length) / mapping->page_size;
         i++) {
        uint32_t page = model.pinned[mapping->u.fake.base][i];

        assert_true(model.pins_of[page] > 0);
        model.pins_of[page]--;
        model.pins--;
        give(page);
    }
    return 0;
}

static void model_end(struct backend *backend, struct mapping *mapping)
{
    (void)backend;
    (void)mapping;
}

static const struct backend_ops model_ops = {
    .begin = model_begin,
    .pin = model_pin,
    .resolve = model_resolve,
    .unpin = model_unpin,
    .end = model_end,
};

/* ---- a test ---- */

void host(void)
{
    memset(&model, 0, sizeof(model));
    /* A page is a piece: time and flags are looked at before each. */
    model.base = (struct backend){
        .ops = &model_ops, .mode = DMABUFD_MODE_PA, .pin = DMABUFD_PIN_LONGTERM, .piece = PAGE_2M
    };
    atomic_store(&cancelled, false);
    effort = (struct effort){ .cancelled = &cancelled };
    watched = &effort;
    assert_int_equal(memory_init(&memory, UINT64_MAX, 0, NULL), 0);
    nodes_pretend(&memory.nodes, 1);
}

/* Free pages at these multiples of 2 MiB: the last one given is the first one taken. */
void give_free(unsigned int number)
{
    uint32_t page = ++model.page_count;

    model.address[page] = number * PAGE_2M;
    model.free[model.free_count++] = page;
}

/* Pages of which none touches another. */
void give_apart(unsigned int first, unsigned int count)
{
    for (unsigned int i = 0; i < count; i++)
        give_free(first + 2 * i);
}

void give_run(void)
{
    static const unsigned int order[BUFFER] = { 3, 0, 7, 1, 5, 2, 6, 4 };

    for (unsigned int i = 0; i < BUFFER; i++)
        give_free(RUN_AT + order[i]);
}

/* What was given last. */
void make_buffer(void)
{
    buffer = buffer_new();
    assert_int_equal(buffer_begin(buffer, BUFFER * PAGE_2M, PAGE_2M, &memory, &model.base, NULL),
                     0);
    while (buffer->mapping.pinned < buffer->size)
        assert_int_equal(buffer_next_piece(buffer, &memory, &model.base, NULL), 0);
    model.calls = 0;
    model.least_free = model.free_count;
}

/* A run behind @before pages that are free, before @after others. */
void scattered_buffer(unsigned int before, unsigned int after)
{
    host();
    give_apart(5000, after);
    give_run();
    give_apart(1000, before);
    give_apart(10, BUFFER);
    make_buffer();
}

bool is_whole(void)
{
    return buffer->mapping.pinned == buffer->size &&
           spans_check(buffer->spans.list, buffer->spans.count, buffer->size) == 0 &&
           model.pins == BUFFER;
}

/* Nothing but the buffer is left, and then nothing at all; @lost pages are somebody else's. */
void end(size_t lost)
{
    if (is_whole())
        assert_int_equal(model.free_count + BUFFER + lost, model.page_count);
    buffer_discard(buffer, &memory, &model.base);
    assert_int_equal(model.pins, 0);
    assert_int_equal(model.free_count + lost, model.page_count);
    memory_deinit(&memory);
}

void assert_found(void)
{
    assert_true(is_whole());
    assert_int_equal(buffer->spans.count, 1);
    assert_int_equal(buffer->spans.list[0].dma_addr, RUN_AT * PAGE_2M);
}
