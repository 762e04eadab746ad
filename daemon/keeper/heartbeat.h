/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Heartbeat: whether the daemon as a whole is well, which is told to systemd's watchdog as long as it
 * is. Being asked at all shows that the keeper's event loop turns.
 *
 * systemd ends a daemon it does not hear of and starts another, which costs every client its memory.
 * So whatever mends itself is well: a broker that is silent or gone counts only when the supervisor
 * should have had another long ago.
 *
 * It keeps no timer and sends nothing: that is the keeper's.
 */
#ifndef KEEPER_HEARTBEAT_H
#define KEEPER_HEARTBEAT_H

#include <stdbool.h>
#include <stdint.h>

#include "common/clock.h"

/** For the broker to be replaced, once it is known that it must be, ns. */
#define HEARTBEAT_REPLACED_NS (30 * NS_PER_S)

enum heartbeat_sign {
    HEARTBEAT_WELL,
    HEARTBEAT_NO_BROKER,    /* none that works, for too long */
    HEARTBEAT_WORKERS_HANG, /* one of them at least */
};

struct heartbeat {
    uint64_t hang_ns; /* set by the owner, once: how long a broker may be silent, 0: for ever */
    uint64_t well_ns; /* when the broker was last well */
    enum heartbeat_sign sign;
};

/** heartbeat_begin() - the first broker is being started. @now_ns: now_ns(), also below. */
void heartbeat_begin(struct heartbeat *heartbeat, uint64_t now_ns);

/**
 * heartbeat_look() - how the daemon is
 * @broker_is_well: it serves and is not silent
 * @workers_hang: a step of one takes much too long
 * @ret_new: whether it was not so the last time
 */
enum heartbeat_sign heartbeat_look(struct heartbeat *heartbeat, bool broker_is_well,
                                   bool workers_hang, uint64_t now_ns, bool *ret_new);

#endif
