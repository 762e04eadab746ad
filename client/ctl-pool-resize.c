/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * dmabufctl pool resize: from a wish for pages of the whole host to targets of sets, the huge pages of
 * the kernel that this takes, and waiting for what the daemon makes of it.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "client/ctl-hugepages.h"
#include "client/ctl-pool.h"
#include "common/cleanup.h"
#include "common/clock.h"

#define POLL_NS     (100 * 1000 * 1000)
#define PATIENCE_NS UINT64_C(1000000000)

/* One set on its way. */
struct part {
    struct dmabufd_pool_set set; /* as it was last seen */
    uint64_t pages;              /* its share */
    struct hugepages before, after;
    bool reserved; /* these two are filled in */
};

struct plan {
    const struct pool_resize *request;
    struct part *parts;
    size_t count;
    bool alone; /* the host has one node */
};

uint64_t pool_share(uint64_t pages, size_t sets, size_t index)
{
    return pages / sets + (index < pages % sets);
}

static bool is_meant(const struct pool_resize *request, const struct dmabufd_pool_set *set)
{
    return set->page_size == request->page_size &&
           (request->node == UINT32_MAX || request->node == set->node);
}

static int make_plan(dmabufd *d, struct plan *plan)
{
    CLEANUP_FREE struct dmabufd_pool_set *list = NULL;
    const struct pool_resize *request = plan->request;
    size_t count, of_size = 0;

    if (dmabufd_pool(d, &list, &count) < 0)
        return ctl_error("%s", dmabufd_last_error());
    plan->parts = calloc(count ? count : 1, sizeof(*plan->parts));
    if (!plan->parts)
        return ctl_error("no memory for a list of sets");
    for (size_t i = 0; i < count; i++) {
        of_size += list[i].page_size == request->page_size;
        if (is_meant(request, &list[i]))
            plan->parts[plan->count++].set = list[i];
    }
    if (of_size == 0)
        return ctl_error("this host has no pages of %s", size_text(request->page_size).text);
    if (plan->count == 0)
        return ctl_error("the pool has no pages of %s on node %" PRIu32,
                         size_text(request->page_size).text, request->node);
    plan->alone = of_size == 1;
    for (size_t i = 0; i < plan->count; i++)
        plan->parts[i].pages = pool_share(request->pages, plan->count, i);
    return CTL_OK;
}

/* ---- --reserve ---- */

static int no_sysfs(const struct part *part, const char *what, int error)
{
    return ctl_error("cannot %s the number of huge pages of %s on node %" PRIu32 ": %s%s", what,
                     size_text(part->set.page_size).text, part->set.node, strerror(-error),
                     error == -EACCES || error == -EPERM ? " (--reserve is for root)" : "");
}

/* So many pages are free then as the set still has to take. */
static int reserve(const struct plan *plan, struct part *part)
{
    uint32_t node = plan->alone ? HUGEPAGES_HOST : part->set.node;
    uint64_t page_size = part->set.page_size, have = part->set.ready / page_size;
    uint64_t need = part->pages > have ? part->pages - have : 0, wanted;
    int r = hugepages_read(node, page_size, &part->before);

    if (r < 0)
        return no_sysfs(part, "read", r);
    if (need <= part->before.free)
        return CTL_OK;
    if (__builtin_add_overflow(part->before.total, need - part->before.free, &wanted))
        return no_sysfs(part, "raise", -ERANGE);
    r = hugepages_set_total(node, page_size, wanted);
    if (r < 0)
        return no_sysfs(part, "raise", r);
    r = hugepages_read(node, page_size, &part->after);
    if (r < 0)
        return no_sysfs(part, "read", r);
    part->reserved = true;
    if (part->after.total < wanted)
        ctl_error("the kernel made %" PRIu64 " of %" PRIu64 " more pages of %s on node %" PRIu32
                  ": its free memory is too little or in pieces",
                  part->after.total > part->before.total ? part->after.total - part->before.total
                                                         : 0,
                  wanted - part->before.total, size_text(page_size).text, part->set.node);
    return CTL_OK;
}

static void say_reserved(const struct part *part)
{
    if (part->reserved)
        printf("The kernel has %" PRIu64 " pages of %s on node %" PRIu32 " now, before it had "
               "%" PRIu64 ".\n",
               part->after.total, size_text(part->set.page_size).text, part->set.node,
               part->before.total);
    else
        printf("Enough pages of %s are free on node %" PRIu32 ".\n",
               size_text(part->set.page_size).text, part->set.node);
}

static int reserve_all(const struct ctl *ctl, struct plan *plan)
{
    for (size_t i = 0; i < plan->count; i++) {
        int status = reserve(plan, &plan->parts[i]);

        if (status != CTL_OK)
            return status;
        if (!ctl->json)
            say_reserved(&plan->parts[i]);
    }
    fflush(stdout);
    return CTL_OK;
}

/* ---- waiting ---- */

static int set_targets(dmabufd *d, struct plan *plan)
{
    for (size_t i = 0; i < plan->count; i++) {
        struct part *part = &plan->parts[i];

        if (dmabufd_pool_resize(d, part->set.page_size, part->set.node, part->pages, &part->set) <
            0)
            return ctl_error("pages of %s on node %" PRIu32 ": %s",
                             size_text(part->set.page_size).text, part->set.node,
                             dmabufd_last_error());
    }
    return CTL_OK;
}

static int look_again(dmabufd *d, struct plan *plan)
{
    CLEANUP_FREE struct dmabufd_pool_set *list = NULL;
    size_t count, n = 0;

    if (dmabufd_pool(d, &list, &count) < 0)
        return ctl_error("%s", dmabufd_last_error());
    for (size_t i = 0; i < count && n < plan->count; i++) {
        if (is_meant(plan->request, &list[i]))
            plan->parts[n++].set = list[i];
    }
    return CTL_OK;
}

static bool is_reached(const struct plan *plan)
{
    for (size_t i = 0; i < plan->count; i++) {
        if (plan->parts[i].set.ready != plan->parts[i].set.target)
            return false;
    }
    return true;
}

static bool is_at_rest(const struct plan *plan)
{
    for (size_t i = 0; i < plan->count; i++) {
        const struct dmabufd_pool_set *set = &plan->parts[i].set;

        if (set->refilling && set->ready != set->target)
            return false;
    }
    return true;
}

static void show_progress(const struct plan *plan)
{
    uint64_t ready = 0, target = 0;

    for (size_t i = 0; i < plan->count; i++) {
        ready += plan->parts[i].set.ready / plan->request->page_size;
        target += plan->parts[i].set.target / plan->request->page_size;
    }
    fprintf(stderr, "\r%" PRIu64 " of %" PRIu64 " pages of %s are ready\033[K", ready, target,
            size_text(plan->request->page_size).text);
    fflush(stderr);
}

/*
 * Until all is ready, or nothing more will be. That is believed when it was seen twice: the work may
 * have been about to begin.
 */
static int wait_for_pages(dmabufd *d, struct plan *plan)
{
    const struct timespec pause = { .tv_nsec = POLL_NS };
    uint64_t begun = now_ns();
    bool progress = false;
    int status = CTL_OK;

    for (bool rested = false; status == CTL_OK && !is_reached(plan);) {
        bool rests = is_at_rest(plan);

        if (rests && rested)
            break;
        rested = rests;
        if (isatty(STDERR_FILENO) && now_ns() - begun > PATIENCE_NS) {
            show_progress(plan);
            progress = true;
        }
        nanosleep(&pause, NULL);
        status = look_again(d, plan);
    }
    if (progress)
        fputs("\r\033[K", stderr);
    return status;
}

/* ---- the whole ---- */

static int say_missing(const struct plan *plan)
{
    int status = CTL_OK;

    for (size_t i = 0; i < plan->count; i++) {
        const struct dmabufd_pool_set *set = &plan->parts[i].set;

        if (pool_missing(set) > 0)
            status = ctl_error(
                "of %" PRIu64 " pages of %s on node %" PRIu32 ", %" PRIu64 " are missing: %s",
                set->target / set->page_size, size_text(set->page_size).text, set->node,
                pool_missing(set),
                plan->request->reserve
                    ? "the kernel found no memory for them, nr_hugepages can be raised at boot"
                    : "the host has no more that are free, raise nr_hugepages or use --reserve");
    }
    return status;
}

static void show_result(const struct ctl *ctl, const struct plan *plan)
{
    struct dmabufd_pool_set *list = calloc(plan->count, sizeof(*list));
    json_t *reserved = json_array();

    for (size_t i = 0; list && i < plan->count; i++) {
        const struct part *part = &plan->parts[i];

        list[i] = part->set;
        if (part->reserved)
            json_array_append_new(reserved,
                                  json_pack("{s:o,s:o,s:o}", "node", output_number(part->set.node),
                                            "before", output_number(part->before.total), "after",
                                            output_number(part->after.total)));
    }
    if (!list)
        ctl_error("no memory for a list of sets");
    else if (ctl->json)
        output_json(json_pack("{s:O,s:o}", "reserved", reserved, "sets",
                              pool_sets_json(list, plan->count)));
    else
        pool_print_sets(list, plan->count);
    json_decref(reserved);
    free(list);
}

int pool_resize(const struct ctl *ctl, const struct pool_resize *request)
{
    struct plan plan = { .request = request };
    int status;
    dmabufd *d;

    if (ctl_connect(ctl, &d) < 0)
        return CTL_FAILED;
    status = make_plan(d, &plan);
    if (status == CTL_OK && request->reserve)
        status = reserve_all(ctl, &plan);
    if (status == CTL_OK)
        status = set_targets(d, &plan);
    if (status == CTL_OK && !request->no_wait)
        status = wait_for_pages(d, &plan);
    if (status == CTL_OK) {
        show_result(ctl, &plan);
        if (!request->no_wait)
            status = say_missing(&plan);
    }
    free(plan.parts);
    dmabufd_disconnect(d);
    return status;
}
