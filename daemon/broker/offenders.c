/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A burst lasts from the first offence until it is summed up, so nothing is counted twice or not at
 * all. Nobody is put out of the table for somebody else: one person can have thousands of user ids
 * (user_namespaces(7)), and would have a line in full for each.
 */
#include "daemon/broker/offenders.h"

#include <stddef.h>

static struct offender *find(struct offenders *offenders, uid_t uid)
{
    for (unsigned int i = 0; i < offenders->count; i++) {
        if (offenders->table[i].uid == uid)
            return &offenders->table[i];
    }
    return NULL;
}

bool offenders_note(struct offenders *offenders, uid_t uid, uint64_t now_ns)
{
    struct offender *offender = find(offenders, uid);

    if (offender) {
        offender->more++;
        return false;
    }
    if (offenders->count < OFFENDERS_MAX) {
        offenders->table[offenders->count++] = (struct offender){ .uid = uid, .since_ns = now_ns };
        return true;
    }
    if (offenders->others.more++ == 0)
        offenders->others.since_ns = now_ns;
    return false;
}

static bool is_over(const struct offender *offender, uint64_t now_ns)
{
    return now_ns - offender->since_ns >= OFFENDERS_BURST_NS;
}

bool offenders_next(struct offenders *offenders, uint64_t now_ns, struct offender *ret)
{
    unsigned int i = 0;

    while (i < offenders->count) {
        struct offender over = offenders->table[i];

        if (!is_over(&over, now_ns)) {
            i++;
            continue;
        }
        offenders->table[i] = offenders->table[--offenders->count];
        if (over.more > 0) {
            *ret = over;
            return true;
        }
    }
    if (offenders->others.more == 0 || !is_over(&offenders->others, now_ns))
        return false;
    *ret = offenders->others;
    ret->others = true;
    offenders->others.more = 0;
    return true;
}
