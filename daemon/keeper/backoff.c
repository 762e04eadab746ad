/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Waiting longer each time; see backoff.h. */
#include "daemon/keeper/backoff.h"

#define FIRST_MS 10U

unsigned int backoff_wait(struct backoff *backoff, bool served, uint64_t lived_ns)
{
    unsigned int most = served ? BACKOFF_SERVED_MAX_MS : BACKOFF_FAILED_MAX_MS;
    unsigned int wait;

    /* Years of failing at the start do not count for one that served. */
    if (served && lived_ns >= BACKOFF_SETTLED_NS)
        backoff->next_ms = 0;
    wait = backoff->next_ms < most ? backoff->next_ms : most;
    backoff->next_ms = wait ? wait * 2 : FIRST_MS;
    return wait;
}
