/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Usage: what would break if a PCI device were taken away now: file systems and swap on its disks,
 * network interfaces that are up, programs that drive it through VFIO.
 *
 * Looks only. What it finds is for a person to judge; it cannot know everything.
 */
#ifndef CLIENT_USAGE_H
#define CLIENT_USAGE_H

#include <stdbool.h>
#include <stddef.h>

#include "common/pci.h"

/**
 * usage_by_host() - whether the host uses a device that a kernel driver has
 * @text: receives a list such as "eth0 is up, nvme0n1 is mounted"
 */
bool usage_by_host(const struct pci_address *address, char *text, size_t size);

/**
 * usage_by_programs() - whether processes have its VFIO device open
 * @node: name of that, of pci_vfio_node()
 * @text: receives a list such as "1234 (spdk_tgt)". Processes of others are only seen by root.
 */
bool usage_by_programs(const char *node, char *text, size_t size);

#endif
