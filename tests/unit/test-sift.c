/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * daemon/keeper/sift.h: which pages are kept, held and given back, on a model of a kernel whose
 * allocator is scripted. A page of the model is free again when it is in no file and not pinned, and
 * what was freed last is allocated first; otherwise the next page is where the script says.
 */
#include "daemon/keeper/sift.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/cleanup.h"
#include "tests/unit/cmocka-all.h"
#include "tests/unit/support.h"

#define PAGES_MAX    65536U
#define FILES_MAX    64U
#define MAPPINGS_MAX 128U
#define FILE_PAGES   16384U

/* Above every zone of the host that runs this, so that these do not matter. */
#define LOW  (UINT64_C(1) << 52)
#define MASK ((UINT64_C(1) << 53) - 1)
#define HIGH (UINT64_C(1) << 53)
/* Two pages of the script never touch. */
#define APART (2 * PAGE_4K)

struct page {
    uint64_t address;
    unsigned int pins;
    bool in_file;
};

static struct model {
    struct backend base;
    uint64_t (*script)(size_t n);
    size_t pin_fails; /* the call with this number, from 1 */
    size_t pin_calls;
    size_t
        ends_at; /* with that call it is cancelled, or without a flag for that, the time is over */
    atomic_bool *cancelled;
    struct page pages[PAGES_MAX];
    size_t page_count;
    size_t free[PAGES_MAX];
    size_t free_count;
    ino_t inodes[FILES_MAX];
    uint32_t files[FILES_MAX][FILE_PAGES]; /* index of a page + 1 */
    size_t file_count;
    uint32_t pinned[MAPPINGS_MAX][FILE_PAGES]; /* likewise */
    size_t mapping_count;
    size_t pins; /* of all pages */
} model;

static struct effort effort;

static uint32_t *pages_of(int fd)
{
    struct stat st;
    size_t i = 0;

    assert_int_equal(fstat(fd, &st), 0);
    while (i < model.file_count && model.inodes[i] != st.st_ino)
        i++;
    assert_true(i < FILES_MAX);
    if (i == model.file_count)
        model.inodes[model.file_count++] = st.st_ino;
    return model.files[i];
}

static void free_if_unused(uint32_t page)
{
    if (!model.pages[page].in_file && model.pages[page].pins == 0)
        model.free[model.free_count++] = page;
}

static uint32_t allocate(void)
{
    uint32_t page;

    if (model.free_count > 0) {
        page = (uint32_t)model.free[--model.free_count];
    } else {
        assert_true(model.page_count < PAGES_MAX);
        page = (uint32_t)model.page_count++;
        model.pages[page].address = model.script(page);
    }
    model.pages[page].in_file = true;
    return page;
}

int __wrap_memory_empty(int fd, uint64_t offset, uint64_t length);
int __wrap_memory_populate(int fd, uint64_t offset, uint64_t length);

int __wrap_memory_empty(int fd, uint64_t offset, uint64_t length)
{
    uint32_t *file = pages_of(fd);

    for (uint64_t i = offset / PAGE_4K; i < (offset + length) / PAGE_4K; i++) {
        uint32_t page = file[i] - 1;

        assert_true(file[i] > 0);
        file[i] = 0;
        model.pages[page].in_file = false;
        free_if_unused(page);
    }
    return 0;
}

/* The model allocates when it pins. */
int __wrap_memory_populate(int fd, uint64_t offset, uint64_t length)
{
    (void)fd;
    (void)offset;
    (void)length;
    return 0;
}

static int model_begin(struct backend *backend, struct mapping *mapping, struct fault *fault)
{
    (void)backend;
    (void)fault;
    assert_true(model.mapping_count < MAPPINGS_MAX && mapping->size <= FILE_PAGES * PAGE_4K);
    mapping->u.fake.base = model.mapping_count++;
    return 0;
}

static int model_pin(struct backend *backend, struct mapping *mapping, uint64_t offset,
                     uint64_t length, struct fault *fault)
{
    uint32_t *file = pages_of(mapping->fd), *pinned = model.pinned[mapping->u.fake.base];

    (void)backend;
    if (++model.pin_calls == model.ends_at && model.cancelled)
        atomic_store(model.cancelled, true);
    else if (model.pin_calls == model.ends_at)
        effort.deadline_ns = 1;
    if (model.pin_calls == model.pin_fails)
        return fault_set(fault, DMABUFD_CODE_NO_MEMORY, ENOMEM, "this pin fails");
    for (uint64_t i = offset / PAGE_4K; i < (offset + length) / PAGE_4K; i++) {
        if (file[i] == 0)
            file[i] = allocate() + 1;
        pinned[i] = file[i];
        model.pages[file[i] - 1].pins++;
        model.pins++;
    }
    return 0;
}

static int model_resolve(struct backend *backend, struct mapping *mapping, uint64_t offset,
                         uint64_t length, struct spans *spans, struct fault *fault)
{
    (void)backend;
    (void)fault;
    for (uint64_t i = offset / PAGE_4K; i < (offset + length) / PAGE_4K; i++)
        spans_append(spans, model.pages[model.pinned[mapping->u.fake.base][i] - 1].address,
                     PAGE_4K);
    return 0;
}

static int model_unpin(struct backend *backend, struct mapping *mapping, uint64_t offset,
                       uint64_t length, struct fault *fault)
{
    (void)backend;
    (void)fault;
    for (uint64_t i = offset / PAGE_4K; i < (offset + length) / PAGE_4K; i++) {
        uint32_t page = model.pinned[mapping->u.fake.base][i] - 1;

        assert_true(model.pages[page].pins > 0);
        model.pages[page].pins--;
        model.pins--;
        free_if_unused(page);
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

static struct memory memory;
static struct buffer *buffer;
static struct sift sift;
static struct fault fault;

/* A buffer of so many pages, as the kernel of the script gives it. */
static void begin(uint64_t (*script)(size_t n), size_t pages, uint64_t limit)
{
    memset(&model, 0, sizeof(model));
    model.base =
        (struct backend){ .ops = &model_ops, .mode = DMABUFD_MODE_PA, .pin = DMABUFD_PIN_LONGTERM };
    model.script = script;
    sift = (struct sift){ 0 };
    effort = (struct effort){ .cancelled = &support_no };
    fault = (struct fault){ 0 };
    assert_int_equal(memory_init(&memory, limit, 0, NULL), 0);
    buffer = buffer_new();
    assert_int_equal(buffer_begin(buffer, pages * PAGE_4K, PAGE_4K, &memory, &model.base, NULL), 0);
    while (buffer->mapping.pinned < buffer->size)
        assert_int_equal(buffer_next_piece(buffer, &memory, &model.base, NULL), 0);
}

static int run(const struct dmabufd_constraints *constraints)
{
    int r;

    do {
        r = sift_round(&sift, buffer, constraints, &memory, &model.base, &effort, &fault);
    } while (r > 0);
    return r;
}

/* Nothing but the buffer is left, and then nothing at all. */
static void end(bool whole)
{
    sift_end(&sift, &memory, &model.base);
    assert_true(LIST_EMPTY(&sift.held));
    assert_int_equal(memory.charged, buffer->size);
    if (whole)
        assert_int_equal(model.pins, buffer->size / PAGE_4K);
    buffer_discard(buffer, &memory, &model.base);
    assert_int_equal(model.pins, 0);
    assert_int_equal(memory.charged, 0);
    memory_deinit(&memory);
}

static uint64_t all_low(size_t n)
{
    return LOW + n * APART;
}

static uint64_t all_high(size_t n)
{
    return HIGH + n * APART;
}

/* Two of the first eight are too high. */
static uint64_t some_high(size_t n)
{
    return n == 2 || n == 5 ? all_high(n) : all_low(n);
}

static uint64_t low_after_3000(size_t n)
{
    return n < 3000 ? all_high(n) : all_low(n);
}

/* One after the other, from the third page of an aligned four. */
static uint64_t in_a_row(size_t n)
{
    return LOW + (n + 2) * PAGE_4K;
}

static const struct dmabufd_constraints below = { .dma_mask = MASK };

static void what_fits_is_left_alone(void **state)
{
    (void)state;
    begin(all_low, 8, UINT64_MAX);
    assert_int_equal(run(&below), 0);
    assert_int_equal(sift.round, 0);
    assert_int_equal(model.page_count, 8);
    end(true);
}

static void what_does_not_fit_is_exchanged(void **state)
{
    (void)state;
    begin(some_high, 8, UINT64_MAX);
    assert_int_equal(run(&below), 0);
    assert_int_equal(sift.round, 1);
    assert_int_equal(sift.ballast, 2 * PAGE_4K);
    assert_int_equal(memory.charged, 10 * PAGE_4K);
    /* Those that fit stayed, the others are the next two; the kernel was given nothing back. */
    assert_int_equal(buffer->spans.count, 8);
    for (size_t i = 0; i < 8; i++)
        assert_int_equal(buffer->spans.list[i].dma_addr, all_low(i == 2 ? 8 : i == 5 ? 9 : i));
    assert_int_equal(model.free_count, 0);
    end(true);
}

/* More than rounds of the buffer's own size would ever see. */
static void a_scout_finds_what_is_deep(void **state)
{
    (void)state;
    begin(low_after_3000, 4, UINT64_MAX);
    assert_int_equal(run(&below), 0);
    assert_true(sift.scouted > 0);
    for (size_t i = 0; i < buffer->spans.count; i++)
        assert_true(buffer->spans.list[i].dma_addr <= MASK);
    /* What the scout found and the buffer did not need is the kernel's again, the rest is held. */
    assert_true(model.free_count > 0);
    for (size_t i = 0; i < model.free_count; i++)
        assert_true(model.pages[model.free[i]].address <= MASK);
    end(true);
}

/* What the search in low_after_3000() takes: the first is of the buffer, with the last one it is found. */
#define PINS_OF_SEARCH 6U

static void gives_up_at_the_bound(void **state)
{
    const uint64_t limit = UINT64_C(40) << 20;

    (void)state;
    begin(all_high, 16, limit);
    assert_int_equal(run(&below), -ENOSPC);
    assert_int_equal(fault.code, DMABUFD_CODE_CONSTRAINTS);
    assert_non_null(strstr(fault.text, "small pages were searched"));
    assert_non_null(strstr(fault.text, "the best: 16 spans"));
    assert_true(sift.ballast <= limit / 4);
    assert_true(sift.ballast > limit / 8);
    assert_true(memory.charged <= limit);
    end(true);
}

static void ends_when_cancelled(void **state)
{
    (void)state;
    begin(all_high, 8, UINT64_MAX);
    effort.cancelled = &support_yes;
    assert_int_equal(run(&below), -ECANCELED);
    assert_int_equal(model.page_count, 8);
    end(true);
    begin(low_after_3000, 8, UINT64_MAX);
    assert_int_equal(run(&below), 0);
    assert_int_equal(model.pin_calls, PINS_OF_SEARCH);
    end(true);
    /* In the middle, wherever that is. */
    for (size_t at = 2; at < PINS_OF_SEARCH; at++) {
        atomic_bool cancelled = false;

        begin(low_after_3000, 8, UINT64_MAX);
        effort.cancelled = model.cancelled = &cancelled;
        model.ends_at = at;
        assert_int_equal(run(&below), -ECANCELED);
        /* The piece that it was at is the last one. */
        assert_int_equal(model.pin_calls, at);
        end(false);
    }
}

static void ends_at_the_deadline(void **state)
{
    (void)state;
    /* Of a search among other pages of the same request. */
    begin(all_high, 8, UINT64_MAX);
    effort.deadline_ns = 1;
    assert_int_equal(run(&below), -ENOSPC);
    assert_int_equal(sift.round, 0);
    assert_int_equal(model.page_count, 8);
    end(true);
    for (size_t at = 2; at < PINS_OF_SEARCH; at++) {
        begin(low_after_3000, 8, UINT64_MAX);
        model.ends_at = at;
        assert_int_equal(run(&below), -ENOSPC);
        assert_int_equal(model.pin_calls, at);
        assert_int_equal(fault.code, DMABUFD_CODE_CONSTRAINTS);
        assert_non_null(strstr(fault.text, "10 s at most"));
        end(false);
    }
}

/* Wherever it fails: the sentence says how close it came, and nothing is left. */
static void failures_on_the_way(void **state)
{
    (void)state;
    for (size_t at = 2; at < 8; at++) {
        int r;

        begin(low_after_3000, 8, UINT64_MAX);
        model.pin_fails = at;
        r = run(&below);
        assert_true(r == 0 || r == -ENOSPC);
        if (r < 0)
            assert_non_null(strstr(fault.text, "the best: 8 spans"));
        end(r == 0);
    }
}

static void aligned_runs(void **state)
{
    const struct dmabufd_constraints aligned = { .alignment = 4 * PAGE_4K };

    (void)state;
    begin(in_a_row, 16, UINT64_MAX);
    assert_int_equal(run(&aligned), 0);
    for (size_t i = 0; i < buffer->spans.count; i++)
        assert_int_equal(buffer->spans.list[i].dma_addr % (4 * PAGE_4K), 0);
    end(true);
}

/* The first pages are alone, later ones are not. */
static uint64_t alone_at_first(size_t n)
{
    return n < 20 ? all_high(n) : in_a_row(n);
}

static void runs_of_a_length(void **state)
{
    const struct dmabufd_constraints runs = { .min_span = 3 * PAGE_4K };

    (void)state;
    begin(alone_at_first, 17, UINT64_MAX);
    assert_int_equal(run(&runs), 0);
    for (size_t i = 0; i + 1 < buffer->spans.count; i++)
        assert_true(buffer->spans.list[i].length >= 3 * PAGE_4K);
    end(true);
}

static void what_is_not_tried(void **state)
{
    static const struct {
        struct dmabufd_constraints constraints;
        const char *says;
    } samples[] = {
        { { .max_segments = 3 }, "not searched for fewer segments" },
        { { .flags = DMABUFD_CONTIGUOUS }, "not searched for fewer segments" },
        { { .dma_mask = MASK, .max_segments = 3 }, "not searched for fewer segments" },
        { { .min_span = SIFT_UNIT_MAX + 1 }, "runs of more than 64 KiB" },
        { { .alignment = 2 * SIFT_UNIT_MAX }, "runs of more than 64 KiB" },
        /* Every host has more than that free above its first 4 KiB. */
        { { .dma_mask = 0xfff }, "small pages were not searched" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(samples); i++) {
        begin(all_low, 8, UINT64_C(1) << 20);
        assert_int_equal(run(&samples[i].constraints), -ENOSPC);
        assert_int_equal(fault.code, DMABUFD_CODE_CONSTRAINTS);
        if (!strstr(fault.text, samples[i].says))
            fail_msg("'%s' does not say '%s'", fault.text, samples[i].says);
        assert_non_null(strstr(fault.text, "the best: 8 spans"));
        assert_int_equal(model.page_count, 8);
        end(true);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_fits_is_left_alone),
        cmocka_unit_test(what_does_not_fit_is_exchanged),
        cmocka_unit_test(a_scout_finds_what_is_deep),
        cmocka_unit_test(gives_up_at_the_bound),
        cmocka_unit_test(ends_when_cancelled),
        cmocka_unit_test(ends_at_the_deadline),
        cmocka_unit_test(failures_on_the_way),
        cmocka_unit_test(aligned_runs),
        cmocka_unit_test(runs_of_a_length),
        cmocka_unit_test(what_is_not_tried),
    };

    return cmocka_run_group_tests_name("sift", tests, NULL, NULL);
}
