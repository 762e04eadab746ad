/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Three kernels' answers; see getpa.h. */
#include "tests/unit/getpa.h"

#include <errno.h>

static const struct getpa_area *area_at(const struct getpa *getpa, uint64_t iova)
{
    for (size_t i = 0; i < getpa->area_count; i++) {
        const struct getpa_area *area = &getpa->areas[i];

        if (iova >= area->iova && (iova - area->iova) / area->page_size < area->pages)
            return area;
    }
    return NULL;
}

bool getpa_find(const struct getpa *getpa, uint64_t iova, uint64_t *ret_pa)
{
    const struct getpa_area *area = area_at(getpa, iova);
    uint64_t offset = area ? iova - area->iova : 0;

    if (!area)
        return false;
    *ret_pa = area->pa[offset / area->page_size] + offset % area->page_size;
    return true;
}

/* Bytes from @iova on that are contiguous, within its area. */
static uint64_t run_in_area(const struct getpa_area *area, uint64_t iova)
{
    uint64_t offset = iova - area->iova;
    size_t page = offset / area->page_size;
    uint64_t run = area->page_size - offset % area->page_size;

    while (page + 1 < area->pages && area->pa[page + 1] != 0 &&
           area->pa[page] + area->page_size == area->pa[page + 1]) {
        run += area->page_size;
        page++;
    }
    return run;
}

/* The same, going on in whatever is mapped behind it, be it another's. */
static uint64_t run_anywhere(const struct getpa *getpa, uint64_t iova)
{
    const struct getpa_area *area = area_at(getpa, iova);
    uint64_t run = run_in_area(area, iova);
    uint64_t pa, next;

    getpa_find(getpa, iova, &pa);
    while (iova + run == area->iova + area->pages * area->page_size &&
           getpa_find(getpa, iova + run, &next) && next != 0 && next == pa + run) {
        area = area_at(getpa, iova + run);
        run += run_in_area(area, iova + run);
    }
    return run;
}

static uint64_t answer(const struct getpa *getpa, uint64_t iova, uint64_t length)
{
    uint64_t run, pa;

    if (getpa->version == GETPA_POSTED) {
        run = run_anywhere(getpa, iova);
        return getpa_find(getpa, iova + run, &pa) ? run : run + getpa->overshoot;
    }
    run = getpa->version == GETPA_MERGED ? run_in_area(area_at(getpa, iova), iova)
                                         : run_anywhere(getpa, iova);
    return length != 0 && length < run ? length : run;
}

int getpa_ask(void *data, uint64_t iova, uint64_t length, uint64_t *ret_pa, uint64_t *ret_run)
{
    struct getpa *getpa = data;

    if (getpa->questions == 0 || length < getpa->shortest)
        getpa->shortest = length;
    if (length > getpa->longest)
        getpa->longest = length;
    getpa->questions++;
    if (getpa->questions == getpa->at && getpa->error)
        return getpa->error;
    if (getpa->version == GETPA_MERGED && length == 0)
        return -EINVAL;
    if (!getpa_find(getpa, iova, ret_pa))
        return -ENOENT;
    *ret_run = answer(getpa, iova, length);
    if (getpa->questions == getpa->at && getpa->lie)
        getpa->lie(ret_pa, ret_run);
    return 0;
}
