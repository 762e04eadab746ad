/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The pool of a row; see stock.h. */
#include "bench/stock.h"

#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* For the floor, and for what is held while the pool is filled again. */
#define LEFT_TO_OTHERS 128
#define WAIT_NS        UINT64_C(20000000000)
#define LOOK_EVERY_US  300

static uint64_t free_pages(void)
{
    FILE *file = fopen("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "re");
    unsigned long long pages = 0;

    if (!file)
        return 0;
    if (fscanf(file, "%llu", &pages) != 1)
        pages = 0;
    fclose(file);
    return pages;
}

static void find_set(dmabufd *d, uint32_t node, bool any_node, struct dmabufd_pool_set *ret)
{
    struct dmabufd_pool_set *list;
    size_t count;

    if (dmabufd_pool(d, &list, &count) < 0)
        errx(1, "%s", dmabufd_last_error());
    *ret = (struct dmabufd_pool_set){ 0 };
    for (size_t i = 0; i < count && ret->page_size == 0; i++) {
        if (list[i].page_size == PAGE_HUGE && (any_node || list[i].node == node))
            *ret = list[i];
    }
    free(list);
}

void stock_look(struct stock *stock)
{
    find_set(stock->d, stock->set.node, false, &stock->set);
}

static bool is_idle(dmabufd *d)
{
    struct dmabufd_status status;

    if (dmabufd_get_status(d, &status) < 0)
        errx(1, "%s", dmabufd_last_error());
    return status.jobs == 0;
}

const char *stock_settle(struct stock *stock)
{
    uint64_t end = now_ns() + WAIT_NS;

    while (now_ns() < end) {
        stock_look(stock);
        if (stock->set.ready == stock->set.target && !stock->set.refilling && is_idle(stock->d))
            return NULL;
        usleep(LOOK_EVERY_US);
    }
    return "the pool does not become full: too few huge pages are free";
}

const char *stock_make(struct stock *stock, const struct bench *bench, uint64_t pages)
{
    static char too_few[120];
    uint64_t free = free_pages();
    const char *why;

    *stock = (struct stock){ .d = bench->d };
    find_set(bench->d, 0, true, &stock->set);
    if (stock->set.page_size == 0)
        return "this host has no huge pages of 2 MiB";
    if (free < pages + LEFT_TO_OTHERS) {
        snprintf(too_few, sizeof(too_few),
                 "of huge pages of 2 MiB %llu are free, %llu are needed: vm.nr_hugepages",
                 (unsigned long long)free, (unsigned long long)(pages + LEFT_TO_OTHERS));
        return too_few;
    }
    if (dmabufd_pool_resize(bench->d, PAGE_HUGE, stock->set.node, pages, NULL) < 0)
        return dmabufd_last_error();
    stock->pages = pages;
    why = stock_settle(stock);
    if (why)
        stock_drop(stock);
    return why;
}

uint32_t stock_files(const struct stock *stock, uint64_t size)
{
    unsigned int class = 0;

    while (class < DMABUFD_POOL_CLASSES && PAGE_HUGE << class < size)
        class ++;
    return class < DMABUFD_POOL_CLASSES ? stock->set.files[class] : 0;
}

void stock_drop(struct stock *stock)
{
    if (stock->pages == 0)
        return;
    stock->pages = 0;
    if (dmabufd_pool_resize(stock->d, PAGE_HUGE, stock->set.node, 0, NULL) < 0)
        errx(1, "%s", dmabufd_last_error());
    stock_settle(stock);
}
