/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What alloc has in common with other commands: a buffer that is shown and kept for a while. */
#ifndef CLIENT_CTL_ALLOC_H
#define CLIENT_CTL_ALLOC_H

#include <signal.h>
#include <stdbool.h>

#include "client/ctl.h"

/** How much of it, and for how long. */
struct ctl_showing {
    bool hold; /* -H */
    bool all;  /* -a: all of the scatter list */
};

/** ctl_show_option() - take note of an option. Return: whether it is one of these two. */
bool ctl_show_option(struct ctl_showing *showing, int option);

/** ctl_show_buffer() - the buffer and its scatter list, as text or JSON; @all: all of the list. */
void ctl_show_buffer(const struct ctl *ctl, const dmabufd_buffer *buffer, bool all);

/** ctl_hold_begin() - block the signals that ctl_hold() waits for: before the output, because whoever
 *  sees it may send one. */
void ctl_hold_begin(sigset_t *ret_signals);

/**
 * ctl_hold() - until one of these signals or the end of standard input
 * Return: exit status; CTL_FAILED after it said so if the daemon ended before.
 */
int ctl_hold(dmabufd *d, const sigset_t *signals);

#endif
