/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Well or not; see heartbeat.h. */
#include "daemon/keeper/heartbeat.h"

void heartbeat_begin(struct heartbeat *heartbeat, uint64_t now_ns)
{
    *heartbeat = (struct heartbeat){ .hang_ns = heartbeat->hang_ns, .well_ns = now_ns };
}

enum heartbeat_sign heartbeat_look(struct heartbeat *heartbeat, bool broker_is_well,
                                   bool workers_hang, uint64_t now_ns, bool *ret_new)
{
    enum heartbeat_sign before = heartbeat->sign;

    if (broker_is_well)
        heartbeat->well_ns = now_ns;
    if (workers_hang)
        heartbeat->sign = HEARTBEAT_WORKERS_HANG;
    else if (now_ns - heartbeat->well_ns > heartbeat->hang_ns + HEARTBEAT_REPLACED_NS)
        heartbeat->sign = HEARTBEAT_NO_BROKER;
    else
        heartbeat->sign = HEARTBEAT_WELL;
    *ret_new = heartbeat->sign != before;
    return heartbeat->sign;
}
