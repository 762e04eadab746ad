/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Row "getpa": how many calls to iommufd the keeper makes for an allocation of 1 GiB, counted from
 * outside (tracer.h). The floor of IOMMU_IOAS_NOIOMMU_GET_PA is one for each piece of memory that
 * can only be asked about by itself: a huge page, since huge pages are asked about one by one, or
 * a span of small pages.
 *
 * Counts are the same under emulation; that is where iommufd without an IOMMU can be had.
 */
#include <stdio.h>
#include <string.h>

#include "bench/bench.h"
#include "bench/tracer.h"
#include "common/kernel-abi.h"

#define ROW        "getpa"
#define SIZE       GIB
#define FLOOR_NAME "one for each huge page, or for each span of small pages"

static const unsigned long requests[] = {
    ABI_IOMMU_IOAS_NOIOMMU_GET_PA,
    ABI_IOMMU_IOAS_MAP_FILE,
};
static const char *const names[] = { "GET_PA", "MAP_FILE" };

/* Return: NULL, or why it cannot be measured. */
static const char *count_calls(struct bench *bench, uint64_t page_size,
                               uint64_t counts[ARRAY_LEN(requests)], uint64_t *ret_floor)
{
    CLEANUP_TRACER struct tracer tracer = { .pid = 0 };
    dmabufd_buffer *buffer;
    size_t spans;
    int r = tracer_start(&tracer, bench->placement.keeper, requests, ARRAY_LEN(requests));

    if (r < 0)
        return strerror(-r);
    if (dmabufd_alloc(bench->d, SIZE, page_size, &buffer) < 0)
        return dmabufd_last_error();
    for (size_t i = 0; i < ARRAY_LEN(requests); i++)
        counts[i] = tracer_count(&tracer, i);
    tracer_stop(&tracer);
    dmabufd_buffer_spans(buffer, &spans);
    *ret_floor = page_size == PAGE_SMALL ? spans : SIZE / page_size;
    dmabufd_free(buffer);
    return NULL;
}

static void measure(struct bench *bench, uint64_t page_size)
{
    uint64_t counts[ARRAY_LEN(requests)] = { 0 }, floor = 0;
    const char *why = count_calls(bench, page_size, counts, &floor);
    char page[16];

    format_size(page, page_size);
    for (size_t i = 0; i < ARRAY_LEN(requests); i++) {
        struct result result = {
            .row = ROW, .where = "-", .unit = UNIT_CALLS, .floor_name = FLOOR_NAME
        };

        snprintf(result.what, sizeof(result.what), "%s for 1 GiB, %s pages", names[i], page);
        if (why) {
            report_skip(&bench->report, ROW, result.what, result.where, why);
            continue;
        }
        result.ours = samples_one((double)counts[i]);
        if (requests[i] == ABI_IOMMU_IOAS_NOIOMMU_GET_PA)
            result.floor = samples_one((double)floor);
        report_add(&bench->report, &result);
    }
}

void row_getpa(struct bench *bench)
{
    if (strcmp(dmabufd_get_info(bench->d)->backend, "iommufd") != 0) {
        if (!bench->report.guest)
            report_skip(&bench->report, ROW, "calls for 1 GiB", "-",
                        "only the backend iommufd makes them: in the virtual machine");
        return;
    }
    placement_enter(&bench->placement, PLACE_ANY_CPU);
    measure(bench, PAGE_HUGE);
    measure(bench, PAGE_SMALL);
}
