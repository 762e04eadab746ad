/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What alloc has in common with other commands: a buffer that is shown and kept for a while. */
#ifndef CLIENT_CTL_ALLOC_H
#define CLIENT_CTL_ALLOC_H

#include <signal.h>

#include "client/ctl.h"

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
