/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One daemon for a group of tests; see group.h. */
#include "tests/integration/group.h"

struct daemon daemon_of_group;

int group_start(void **state)
{
    (void)state;
    daemon_start(&daemon_of_group, NULL);
    return 0;
}

int group_stop(void **state)
{
    (void)state;
    daemon_stop(&daemon_of_group);
    return 0;
}
