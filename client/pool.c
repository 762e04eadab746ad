/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The daemon's pool, looked at and resized; what it is for is in dmabufd.h. Allocations come out of it
 * without any of this. */
#include <errno.h>
#include <stdlib.h>

#include "client/call.h"
#include "client/last-error.h"

_Static_assert(DMABUFD_POOL_CLASSES == PROTO_POOL_CLASSES, "one number of sizes of files");
_Static_assert(DMABUFD_POOL_RUNS == PROTO_POOL_RUNS, "one number of sizes of runs");
_Static_assert(DMABUFD_POOL_CELLS == PROTO_POOL_CELLS, "one picture");

static int ask_for_set(dmabufd *d, uint32_t set, struct reply *ret, struct fault *fault)
{
    Dmabufd__Proto__PoolRequest body = DMABUFD__PROTO__POOL_REQUEST__INIT;
    proto_request request = DMABUFD__PROTO__REQUEST__INIT;
    int r;

    body.set = set;
    request.body_case = DMABUFD__PROTO__REQUEST__BODY_POOL;
    request.pool = &body;
    r = call_run(d, &request, NULL, DMABUFD__PROTO__REPLY__BODY_POOL, ret, fault);
    if (r < 0)
        return r;
    if (ret->pool.set_count > 0 && ret->pool.set != set)
        return call_violation(d, "a set of the pool that was not asked for", fault);
    return 0;
}

int dmabufd_pool(dmabufd *d, struct dmabufd_pool_set **ret_list, size_t *ret_count)
{
    NO_CANCELLATION;
    CLEANUP_FREE struct dmabufd_pool_set *list = NULL;
    struct fault *fault = last_error();
    struct reply reply;
    uint32_t count;
    int r = ask_for_set(d, 0, &reply, fault);

    if (r < 0)
        return r;
    count = reply.pool.set_count;
    if (count > 0) {
        list = calloc(count, sizeof(*list));
        if (!list)
            return fault_set(fault, DMABUFD_CODE_OK, ENOMEM, "no memory for a list of sets");
        list[0] = reply.pool.info;
    }
    for (uint32_t i = 1; i < count; i++) {
        r = ask_for_set(d, i, &reply, fault);
        if (r < 0)
            return r;
        /* They are those of the host, and do not change while the daemon runs. */
        if (reply.pool.set_count != count)
            return call_violation(d, "a pool whose number of sets changes", fault);
        list[i] = reply.pool.info;
    }
    *ret_list = TAKE_PTR(list);
    *ret_count = count;
    return 0;
}

int dmabufd_pool_resize(dmabufd *d, uint64_t page_size, uint32_t node, uint64_t pages,
                        struct dmabufd_pool_set *ret)
{
    NO_CANCELLATION;
    Dmabufd__Proto__PoolResizeRequest body = DMABUFD__PROTO__POOL_RESIZE_REQUEST__INIT;
    proto_request request = DMABUFD__PROTO__REQUEST__INIT;
    struct fault *fault = last_error();
    struct reply reply;
    int r;

    body.page_size = page_size;
    body.node = node;
    body.pages = pages;
    request.body_case = DMABUFD__PROTO__REQUEST__BODY_POOL_RESIZE;
    request.pool_resize = &body;
    r = call_run(d, &request, NULL, DMABUFD__PROTO__REPLY__BODY_POOL, &reply, fault);
    if (r < 0)
        return r;
    if (reply.pool.set_count == 0 || reply.pool.info.page_size != page_size ||
        reply.pool.info.node != node)
        return call_violation(d, "a set of the pool that was not asked for", fault);
    if (ret)
        *ret = reply.pool.info;
    return 0;
}

int dmabufd_pool_get_map(dmabufd *d, struct dmabufd_pool_map *ret)
{
    NO_CANCELLATION;
    Dmabufd__Proto__PoolMapRequest body = DMABUFD__PROTO__POOL_MAP_REQUEST__INIT;
    proto_request request = DMABUFD__PROTO__REQUEST__INIT;
    struct reply reply;
    int r;

    request.body_case = DMABUFD__PROTO__REQUEST__BODY_POOL_MAP;
    request.pool_map = &body;
    r = call_run(d, &request, NULL, DMABUFD__PROTO__REPLY__BODY_POOL_MAP, &reply, last_error());
    if (r == 0)
        *ret = reply.pool_map;
    return r;
}
