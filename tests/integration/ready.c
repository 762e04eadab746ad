/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Waiting for the pool; see ready.h. */
#include "tests/integration/ready.h"

#include <stdlib.h>

#include "tests/integration/harness.h"

#define PAGE (UINT64_C(2) << 20)

struct dmabufd_pool_set ready_look(dmabufd *d)
{
    struct dmabufd_pool_set *list, set = { 0 };
    size_t count;

    assert_int_equal(dmabufd_pool(d, &list, &count), 0);
    for (size_t i = count; i-- > 0;) {
        if (list[i].page_size == PAGE && (list[i].target > 0 || set.target == 0))
            set = list[i];
    }
    free(list);
    assert_int_equal(set.page_size, PAGE);
    return set;
}

static bool is_ready(void *data)
{
    struct dmabufd_pool_set set = ready_look(data);
    struct dmabufd_status status;

    assert_int_equal(dmabufd_get_status(data, &status), 0);
    return set.ready == set.target && !set.refilling && status.jobs == 0;
}

void ready_await(dmabufd *d)
{
    wait_until(is_ready, d);
}
