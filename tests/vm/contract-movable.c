/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Contract: pages in memory that must stay movable are moved out of it when they are pinned, so
 * that an address read before MAP_FILE is worth nothing. Needs a machine with such memory.
 */
#include "tests/vm/contract.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGES 64
#define SIZE  (PAGES * GUEST_PAGE)

static void row_48_mapping_moves_pages_out_of_movable_memory(void **state)
{
    struct context *context = *state;
    int fd = memfd_filled(SIZE, 0);
    uint8_t *memory = memory_of(fd, SIZE);
    uint64_t before[PAGES];
    uint64_t iova;

    for (size_t i = 0; i < PAGES; i++) {
        memset(memory + i * GUEST_PAGE, (int)i + 1, GUEST_PAGE);
        before[i] = physical(memory + i * GUEST_PAGE);
    }
    iova = mapped(context, fd, SIZE);
    for (size_t i = 0; i < PAGES; i++) {
        uint8_t *page = memory + i * GUEST_PAGE;

        assert_int_equal(page[0], i + 1);
        assert_int_equal(page[GUEST_PAGE - 1], i + 1);
        assert_int_not_equal(physical(page), before[i]);
        assert_int_equal(pa_of(context, iova + i * GUEST_PAGE), physical(page));
    }
    munmap(memory, SIZE);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ATTACHED(row_48_mapping_moves_pages_out_of_movable_memory),
        cmocka_unit_test(nothing_stays_pinned),
    };

    return cmocka_run_group_tests(tests, contract_group_setup, NULL);
}
