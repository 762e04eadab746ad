/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The host's NUMA nodes; see nodes.h. */
#include "daemon/keeper/nodes.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/mempolicy.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "daemon/keeper/zones.h"
#include "daemon/log.h"

#define POLICY_NODES (8 * sizeof(((struct policy *)NULL)->nodes))

static bool several(uint64_t set)
{
    return (set & (set - 1)) != 0;
}

/* A small file of the folder. Return: its length, or a negative errno. */
static ssize_t read_file(const struct nodes *nodes, const char *name, char *text, size_t size)
{
    char path[256];
    CLEANUP_FD int fd = -1;
    ssize_t n;

    snprintf(path, sizeof(path), "%s/%s", nodes->folder, name);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    n = fd < 0 ? -1 : read(fd, text, size - 1);
    if (n < 0)
        return -errno;
    text[n] = '\0';
    return n;
}

/* "0-1,3" */
static uint64_t parse_list(char *text)
{
    uint64_t set = 0;
    char *word;

    while ((word = strsep(&text, ","))) {
        unsigned int first, last;
        int n = sscanf(word, "%u-%u", &first, &last);

        if (n == 1)
            last = first;
        for (unsigned int i = first; n > 0 && i <= last && i < NODES_MAX; i++)
            set |= UINT64_C(1) << i;
    }
    return set;
}

void nodes_init(struct nodes *nodes, const char *folder, const char *zoneinfo)
{
    char text[1024];

    *nodes = (struct nodes){ .present = 1, .folder = folder, .zoneinfo = zoneinfo };
    pthread_mutex_init(&nodes->lock, NULL);
    if (read_file(nodes, "has_memory", text, sizeof(text)) > 0)
        nodes->present = parse_list(text);
    if (nodes->present == 0)
        nodes->present = 1;
}

void nodes_pretend(struct nodes *nodes, uint64_t present)
{
    *nodes = (struct nodes){ .present = present };
}

struct placement placement_of(const struct dmabufd_constraints *constraints)
{
    return (struct placement){
        .rule = constraints->flags & (DMABUFD_NODE_PREFERRED | DMABUFD_NODE_STRICT),
        .node = constraints->node,
    };
}

bool placement_is_strict(const struct placement *placement)
{
    return placement->rule & DMABUFD_NODE_STRICT;
}

bool placement_binds(const struct nodes *nodes, const struct placement *placement)
{
    return placement_is_strict(placement) && nodes->folder && several(nodes->present);
}

int placement_check(const struct nodes *nodes, const struct placement *placement,
                    struct fault *fault)
{
    char text[128];

    if (!placement->rule ||
        (placement->node < NODES_MAX && (nodes->present >> placement->node & 1)))
        return 0;
    nodes_text(nodes->present, text, sizeof(text));
    return fault_set(fault, DMABUFD_CODE_UNSUPPORTED, EOPNOTSUPP,
                     "this host has no memory on a node %u: it has memory on node%s %s",
                     placement->node, several(nodes->present) ? "s" : "", text);
}

static int set_policy(int mode, const unsigned long *set, unsigned long bits)
{
    return syscall(SYS_set_mempolicy, mode, set, bits) < 0 ? -errno : 0;
}

int placement_enter(const struct nodes *nodes, const struct placement *placement,
                    struct policy *ret, struct fault *fault)
{
    unsigned long wanted[ARRAY_LEN(ret->nodes)] = { 0 };
    int r = 0;

    *ret = (struct policy){ 0 };
    if (!placement->rule || !nodes->folder || !several(nodes->present))
        return 0;
    wanted[placement->node / (8 * sizeof(*wanted))] = 1UL
                                                      << placement->node % (8 * sizeof(*wanted));
    /* One bit more: the kernel takes the number for one too many. */
    if (syscall(SYS_get_mempolicy, &ret->mode, ret->nodes, POLICY_NODES + 1, NULL, 0) < 0)
        r = -errno;
    if (r == 0)
        r = set_policy(placement_is_strict(placement) ? MPOL_BIND : MPOL_PREFERRED, wanted,
                       POLICY_NODES + 1);
    if (r < 0)
        return fault_set(fault, DMABUFD_CODE_UNSUPPORTED, EOPNOTSUPP,
                         "the kernel does not let the daemon allocate on node %u (set_mempolicy: "
                         "%s): a cpuset or a seccomp filter keeps it off",
                         placement->node, strerror(-r));
    ret->changed = true;
    return 0;
}

void placement_leave(const struct policy *policy)
{
    if (!policy->changed || set_policy(policy->mode, policy->nodes, POLICY_NODES + 1) == 0)
        return;
    /* Its nodes may have gone from us meanwhile. */
    if (set_policy(MPOL_DEFAULT, NULL, 0) < 0)
        log_err("defect: a memory policy cannot be taken back: %s", strerror(errno));
}

uint64_t nodes_huge(const struct nodes *nodes, uint32_t node, uint64_t page_size, const char *what)
{
    char name[96], text[32];

    if (!nodes->folder)
        return 0;
    snprintf(name, sizeof(name), "node%u/hugepages/hugepages-%llukB/%s", node,
             (unsigned long long)(page_size >> 10), what);
    return read_file(nodes, name, text, sizeof(text)) > 0 ? strtoull(text, NULL, 10) : 0;
}

/* "Node 0 MemFree:   1234 kB" in bytes; 0 if there is no such line. */
static uint64_t field(const char *text, const char *name)
{
    const char *found = strstr(text, name);

    return found ? strtoull(found + strlen(name), NULL, 10) << 10 : 0;
}

int nodes_memory(const struct nodes *nodes, uint32_t node, uint64_t *ret_available,
                 uint64_t *ret_total)
{
    char name[32], text[4096];
    ssize_t n;

    if (!nodes->folder)
        return -EOPNOTSUPP;
    snprintf(name, sizeof(name), "node%u/meminfo", node);
    n = read_file(nodes, name, text, sizeof(text));
    if (n < 0)
        return (int)n;
    *ret_total = field(text, " MemTotal:");
    *ret_available = field(text, " MemFree:") +
                     (field(text, " Active(file):") + field(text, " Inactive(file):") +
                      field(text, " SReclaimable:")) /
                         2;
    return *ret_total ? 0 : -ENODATA;
}

/* 0 if one of the spans is in none of these zones. */
static uint64_t look_up(const struct zones *zones, const struct dmabufd_span *list, size_t count)
{
    uint64_t set = 0;

    for (size_t i = 0; i < count; i++) {
        uint64_t of_span = zones_nodes(zones, list[i].dma_addr, list[i].length);

        if (!of_span)
            return 0;
        set |= of_span;
    }
    return set;
}

uint64_t nodes_of(struct nodes *nodes, const struct dmabufd_span *list, size_t count)
{
    struct zones zones;
    uint64_t set;

    if (!several(nodes->present) || !nodes->folder)
        return nodes->folder ? nodes->present : 0;
    pthread_mutex_lock(&nodes->lock);
    zones = nodes->zones;
    pthread_mutex_unlock(&nodes->lock);
    set = look_up(&zones, list, count);
    if (set == 0 && zones_read(nodes->zoneinfo, &zones) == 0) {
        pthread_mutex_lock(&nodes->lock);
        nodes->zones = zones;
        pthread_mutex_unlock(&nodes->lock);
        set = look_up(&zones, list, count);
    }
    return zones_overlap(&zones) ? 0 : set;
}

void nodes_text(uint64_t set, char *out, size_t size)
{
    size_t used = 0;

    out[0] = '\0';
    for (unsigned int i = 0; i < NODES_MAX && used < size; i++) {
        unsigned int last = i;

        if (!(set >> i & 1))
            continue;
        while (last + 1 < NODES_MAX && (set >> (last + 1) & 1))
            last++;
        used += (size_t)snprintf(out + used, size - used, last > i ? "%s%u-%u" : "%s%u",
                                 used ? "," : "", i, last);
        i = last;
    }
}
