/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The picture of 'dmabufctl pool' (client/ctl-pool-map.c), character by character. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "client/ctl-pool.h"

#define GIB1 (UINT64_C(1) << 30)

/* What ctl-output.c wants of dmabufctl.c. */
int ctl_error(const char *format, ...)
{
    fail_msg("%s", format);
    return CTL_FAILED;
}

static char output[8192];

static const char *drawn(const struct dmabufd_pool_map *map)
{
    FILE *out = fmemopen(output, sizeof(output), "w");

    pool_print_map(map, out);
    fclose(out);
    return strchr(output, '\n') + 1;
}

static void drawn_in_rows(void **state)
{
    struct dmabufd_pool_map map = { .cell = GIB1 / 4, .count = DMABUFD_POOL_CELLS };

    (void)state;
    map.ready[0] = 255;
    map.ready[1] = 254;
    map.held[2] = 1;
    map.ready[3] = map.held[3] = 255;
    /* One row of nothing is no shorter folded. */
    map.ready[2 * 64] = 1;
    map.held[511] = 1;
    assert_string_equal(
        drawn(&map),
        "  0x0000000000  #+o%............................................................\n"
        "  0x0400000000  ................................................................\n"
        "  0x0800000000  +...............................................................\n"
        "  ...\n"
        "  0x1c00000000  ...............................................................o\n"
        "  . nothing  # all ready  + partly ready  o held by clients  % ready and held\n");
    map = (struct dmabufd_pool_map){ .cell = 4096, .count = 65 };
    map.ready[64] = 255;
    assert_string_equal(
        drawn(&map),
        "  0x00000  ................................................................\n"
        "  0x40000  #\n"
        "  . nothing  # all ready  + partly ready  o held by clients  % ready and held\n");
    /* Whatever it is, it ends. */
    for (uint32_t count = 0; count <= DMABUFD_POOL_CELLS; count++) {
        map = (struct dmabufd_pool_map){ .cell = UINT64_MAX / DMABUFD_POOL_CELLS, .count = count };
        assert_non_null(drawn(&map));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(drawn_in_rows),
    };

    return cmocka_run_group_tests_name("dmabufctl pool, picture", tests, NULL, NULL);
}
