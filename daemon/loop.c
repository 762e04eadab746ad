/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The event loop; see loop.h. */
#include "daemon/loop.h"

/* Callbacks between two looks at all event sources. */
#define CALLBACKS_MAX 32

struct event_base *loop_new(void)
{
    struct event_config *config = event_config_new();
    struct event_base *base = NULL;

    if (config && event_config_set_max_dispatch_interval(config, NULL, CALLBACKS_MAX, 0) == 0)
        base = event_base_new_with_config(config);
    if (config)
        event_config_free(config);
    return base;
}
