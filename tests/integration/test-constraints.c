/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Allocations that state what a device can take: a buffer meets it all, or there is none and the
 * reason says how close it came. With scripted layouts of the fake backend, and with real huge pages
 * on the backend of the environment.
 *
 * DMABUFD_TEST_RUNS=1 says that this machine's huge pages are known to lie in long runs, so that a
 * search among them has to succeed; elsewhere it may also fail, properly.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/integration/harness.h"

#define MIB (UINT64_C(1) << 20)

struct wish {
    uint64_t size;
    uint64_t page_size;
    struct dmabufd_constraints constraints;
    int error;         /* expected; -1: either this works or it is ENOSPC */
    const char *names; /* with an error */
    size_t segments;   /* expected of dmabufd_segments_next(), 0: any */
};

static int check_segments(dmabufd_buffer *buffer, const struct wish *wish)
{
    const struct dmabufd_constraints *c = &wish->constraints;
    struct dmabufd_segments segments;
    struct dmabufd_span s;
    uint64_t end = 0;
    size_t count = 0;

    CHECK(dmabufd_segments_begin(&segments, buffer, 0, dmabufd_buffer_size(buffer), c) == 0);
    while (dmabufd_segments_next(&segments, &s)) {
        uint64_t address, run;

        CHECK(s.offset == end && s.length > 0);
        CHECK(dmabufd_buffer_translate(buffer, s.offset, &address, &run) == 0);
        CHECK(address == s.dma_addr && s.length <= run);
        CHECK(!c->dma_mask || s.dma_addr + s.length - 1 <= c->dma_mask);
        CHECK(!c->max_segment_size || s.length <= c->max_segment_size);
        CHECK(!c->alignment || s.dma_addr % c->alignment == 0);
        CHECK(!c->boundary ||
              s.dma_addr / c->boundary == (s.dma_addr + s.length - 1) / c->boundary);
        end += s.length;
        count++;
    }
    CHECK(end == dmabufd_buffer_size(buffer));
    CHECK(!c->max_segments || count <= c->max_segments);
    CHECK(!wish->segments || count == wish->segments);
    return 0;
}

static int make_a_wish(void *data)
{
    const struct wish *wish = data;
    dmabufd_buffer *buffer = data;
    size_t spans;
    dmabufd *d;
    int r;

    CHECK(dmabufd_connect(&d, NULL) == 0);
    r = dmabufd_alloc_constrained(d, wish->size, wish->page_size, &wish->constraints, &buffer);
    if (wish->error > 0 || (wish->error < 0 && r < 0)) {
        CHECK(r == (wish->error > 0 ? -wish->error : -ENOSPC) && buffer == data);
        CHECK(dmabufd_last_code() ==
              (r == -ENOSPC ? DMABUFD_CODE_CONSTRAINTS : DMABUFD_CODE_INVALID));
        CHECK(!wish->names || strstr(dmabufd_last_error(), wish->names));
    } else {
        CHECK(r == 0);
        dmabufd_buffer_spans(buffer, &spans);
        CHECK(!(wish->constraints.flags & DMABUFD_CONTIGUOUS) || spans == 1);
        CHECK(check_segments(buffer, wish) == 0);
        memset(dmabufd_buffer_data(buffer), 0xa5, dmabufd_buffer_size(buffer));
    }
    /* The connection goes on. */
    CHECK(dmabufd_alloc(d, 1, 4096, &buffer) == 0);
    dmabufd_disconnect(d);
    return 0;
}

static void grant(struct daemon *daemon, const struct wish *wishes, size_t count)
{
    struct leftovers before;

    leftovers_read(daemon, &before);
    for (size_t i = 0; i < count; i++) {
        struct wish wish = wishes[i];

        run_as(TEST_CLIENT_UID, make_a_wish, &wish);
    }
    leftovers_settle(daemon, &before);
}

#define GRANT(daemon, wishes) grant(daemon, wishes, sizeof(wishes) / sizeof((wishes)[0]))

static void start_fake(struct daemon *daemon, const char *script)
{
    const char *const args[] = { "--fake", script, NULL };

    daemon_start_with(daemon, "fake", args);
}

/* Runs of 64 KiB with gaps: 16 spans in 1 MiB, at addresses from 2^52. */
static void met_or_refused(void **state)
{
    const struct wish wishes[] = {
        { .size = MIB, .page_size = 4096, .segments = 16 },
        { .size = MIB, .page_size = 4096, .constraints = { .max_segments = 16 }, .segments = 16 },
        { .size = MIB,
          .page_size = 4096,
          .constraints = { .max_segments = 15 },
          .error = ENOSPC,
          .names = "16 segments" },
        { .size = MIB, .page_size = 4096, .constraints = { .min_span = 65536 }, .segments = 16 },
        { .size = MIB,
          .page_size = 4096,
          .constraints = { .min_span = 65537 },
          .error = ENOSPC,
          .names = "shortest span 65536" },
        { .size = MIB,
          .page_size = 4096,
          .constraints = { .flags = DMABUFD_CONTIGUOUS },
          .error = ENOSPC,
          .names = "contiguous" },
        { .size = 65536,
          .page_size = 4096,
          .constraints = { .flags = DMABUFD_CONTIGUOUS },
          .segments = 1 },
        { .size = MIB,
          .page_size = 4096,
          .constraints = { .dma_mask = 0xffffffff },
          .error = ENOSPC,
          .names = "addresses of 53 bits" },
        { .size = MIB,
          .page_size = 4096,
          .constraints = { .dma_mask = (UINT64_C(1) << 53) - 1 },
          .segments = 16 },
        { .size = MIB, .page_size = 4096, .constraints = { .alignment = 131072 }, .segments = 16 },
        { .size = MIB,
          .page_size = 4096,
          .constraints = { .alignment = 262144 },
          .error = ENOSPC,
          .names = "off the alignment" },
    };
    struct daemon daemon = { 0 };

    (void)state;
    start_fake(&daemon, "layout=run:64K");
    GRANT(&daemon, wishes);
    daemon_stop(&daemon);
}

static void cutting_needs_no_other_memory(void **state)
{
    const struct wish wishes[] = {
        { .size = MIB,
          .page_size = 4096,
          .constraints = { .max_segment_size = 16384 },
          .segments = 64 },
        { .size = MIB, .page_size = 4096, .constraints = { .boundary = 4096 }, .segments = 256 },
        { .size = MIB,
          .page_size = 4096,
          .constraints = { .max_segment_size = 3 * 4096, .boundary = 32768 },
          .segments = 96 },
        { .size = MIB,
          .page_size = 4096,
          .constraints = { .max_segment_size = 4096, .max_segments = 255 },
          .error = ENOSPC,
          .names = "256 segments, addresses of 53 bits; asked: segments 255, segment size 4096" },
    };
    struct daemon daemon = { 0 };

    (void)state;
    start_fake(&daemon, "layout=one");
    GRANT(&daemon, wishes);
    daemon_stop(&daemon);
}

static void nonsense_is_refused(void **state)
{
    const struct wish wishes[] = {
        { .size = MIB, .constraints = { .alignment = 3 }, .error = EINVAL, .names = "alignment" },
        { .size = MIB, .constraints = { .boundary = 6 }, .error = EINVAL, .names = "boundary" },
        { .size = MIB, .constraints = { .dma_mask = 2 }, .error = EINVAL, .names = "dma_mask" },
        { .size = MIB, .constraints = { .flags = 0x80 }, .error = EINVAL, .names = "flags" },
    };
    struct daemon daemon = { 0 };

    (void)state;
    start_fake(&daemon, "layout=one");
    GRANT(&daemon, wishes);
    daemon_stop(&daemon);
}

static bool need_huge_pages(uint64_t count)
{
    if (huge_pages_free(2 * MIB) >= count)
        return true;
    print_message("needs %llu free huge pages of 2 MiB\n", (unsigned long long)count);
    return false;
}

/* One huge page is contiguous by construction, for a buffer that is smaller, too. */
static void a_huge_page_is_chosen_for_contiguity(void **state)
{
    const struct wish wishes[] = {
        { .size = MIB, .constraints = { .flags = DMABUFD_CONTIGUOUS } },
        { .size = 2 * MIB, .constraints = { .alignment = 2 * MIB, .max_segments = 1 } },
        { .size = 4 * MIB, .constraints = { .min_span = 2 * MIB } },
    };
    struct daemon daemon = { 0 };

    (void)state;
    if (!need_huge_pages(8))
        skip();
    daemon_start(&daemon, NULL);
    GRANT(&daemon, wishes);
    daemon_stop(&daemon);
}

static void runs_are_found_among_huge_pages(void **state)
{
    int either = getenv("DMABUFD_TEST_RUNS") ? 0 : -1;
    const struct wish wishes[] = {
        { .size = 16 * MIB,
          .page_size = 2 * MIB,
          .constraints = { .flags = DMABUFD_CONTIGUOUS },
          .error = either },
        { .size = 32 * MIB, .constraints = { .max_segments = 2 }, .error = either },
        { .size = 16 * MIB,
          .page_size = 2 * MIB,
          .constraints = { .alignment = 4 * MIB, .flags = DMABUFD_CONTIGUOUS },
          .error = either },
        { .size = 64 * MIB,
          .page_size = 2 * MIB,
          .constraints = { .max_segments = 1 },
          .error = either },
        { .size = 16 * MIB,
          .page_size = 2 * MIB,
          .constraints = { .dma_mask = 0xffff },
          .error = ENOSPC,
          .names = "mask 0xffff" },
    };
    struct daemon daemon = { 0 };

    (void)state;
    if (!need_huge_pages(64))
        skip();
    daemon_start(&daemon, NULL);
    GRANT(&daemon, wishes);
    daemon_stop(&daemon);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(met_or_refused),
        cmocka_unit_test(cutting_needs_no_other_memory),
        cmocka_unit_test(nonsense_is_refused),
        cmocka_unit_test(a_huge_page_is_chosen_for_contiguity),
        cmocka_unit_test(runs_are_found_among_huge_pages),
    };

    return cmocka_run_group_tests_name("constraints", tests, NULL, NULL);
}
