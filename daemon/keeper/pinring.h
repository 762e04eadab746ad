/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Pin ring: an io_uring that does no I/O and only holds registered buffers, because registering is
 * the one way for a process to pin its own memory for long (FOLL_LONGTERM) on kernels without
 * iommufd. Three system calls, no shared rings mapped, hence no library.
 *
 * Linux 5.19 or later: tables of buffers that are registered one by one. The pins live as long as
 * the ring, and a ring cannot leave its process by a socket.
 */
#ifndef KEEPER_PINRING_H
#define KEEPER_PINRING_H

#include <stddef.h>
#include <stdint.h>

#include "common/fault.h"

/** Buffers one ring can hold (IORING_MAX_REG_BUFFERS). */
#define PINRING_SLOTS 16384U

/** pinring_open() - Return: 0, or a negative errno with what to do about it. */
int pinring_open(int *ret_fd, struct fault *fault);

/** pinring_pin() - pin mapped, writable memory in an empty slot. Return: 0 or negative errno. */
int pinring_pin(int fd, uint32_t slot, void *address, size_t length, struct fault *fault);

/** pinring_unpin() - empty a slot; before Linux 6.13 the pages follow up to a second later. */
int pinring_unpin(int fd, uint32_t slot, struct fault *fault);

#endif
