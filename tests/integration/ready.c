/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Waiting for the pool; see ready.h. */
#include "tests/integration/ready.h"

#include <stdlib.h>
#include <string.h>

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

int ready_check(dmabufd_buffer *buffer)
{
    uint64_t size = dmabufd_buffer_size(buffer), address, run;
    unsigned char *bytes = dmabufd_buffer_data(buffer);
    const struct dmabufd_span *spans;
    size_t count;

    for (uint64_t at = 0; at < size; at += 4096) {
        CHECK(bytes[at] == 0);
        memcpy(bytes + at, &at, sizeof(at));
    }
    for (uint64_t at = 0; at < size; at += 4096)
        CHECK(memcmp(bytes + at, &at, sizeof(at)) == 0);
    spans = dmabufd_buffer_spans(buffer, &count);
    for (size_t i = 0; i < count; i++) {
        CHECK(dmabufd_buffer_translate(buffer, spans[i].offset + 5, &address, &run) == 0);
        CHECK(address == spans[i].dma_addr + 5 && run == spans[i].length - 5);
    }
    return 0;
}
