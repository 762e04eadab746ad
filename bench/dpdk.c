/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * dmabufd-bench-dpdk: measures DPDK when told to by dmabufd-bench, over the socket whose number is
 * its argument; see peer.h.
 *
 * DPDK runs as it does where there is no IOMMU: device addresses are physical, pages are huge, no
 * devices. --in-memory needs no hugetlbfs mount and leaves no files.
 */
#include "bench/dpdk.h"

#include <err.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "common/cleanup.h"

static const char *start_dpdk(void)
{
    /* The heap keeps 64 MiB for good: without, an object that is alone would come and go with its
     * huge page. */
    static char name[] = "dmabufd-bench-dpdk", memory[] = "--in-memory", mode[] = "--iova-mode=pa",
                pci[] = "--no-pci", telemetry[] = "--no-telemetry", keep[] = "-m64",
                log[] = "--log-level=lib.eal:error";
    char own[32];
    char *arguments[] = { name, own, memory, mode, pci, telemetry, keep, log, NULL };
    cpu_set_t cpus;
    int cpu = 0;

    /* Its one thread is on the first CPU that we may use; each order says where to be. */
    if (sched_getaffinity(0, sizeof(cpus), &cpus) < 0)
        return strerror(errno);
    while (!CPU_ISSET((size_t)cpu, &cpus))
        cpu++;
    snprintf(own, sizeof(own), "--lcores=0@%d", cpu);
    if (rte_eal_init((int)ARRAY_LEN(arguments) - 1, arguments) < 0)
        return rte_strerror(rte_errno);
    if (rte_eal_iova_mode() != RTE_IOVA_PA)
        return "DPDK sees no physical addresses";
    return NULL;
}

static void enter(const struct peer_order *order)
{
    cpu_set_t cpus;

    CPU_ZERO(&cpus);
    CPU_SET((size_t)order->cpus[0], &cpus);
    if (sched_setaffinity(0, sizeof(cpus), &cpus) < 0)
        err(1, "cannot pin the peer");
}

static const char *obey(const struct peer_order *order, struct samples *samples)
{
    enter(order);
    switch (order->what) {
    case PEER_PREPARE:
        return dpdk_prepare(order);
    case PEER_WALK:
        return dpdk_walk(order, samples);
    case PEER_RESOLVE:
        return dpdk_resolve(order, samples);
    case PEER_RELEASE:
        dpdk_release();
        return NULL;
    case PEER_HEAP:
        return dpdk_heap(order, samples);
    case PEER_ALLOCATE:
        return dpdk_allocate(order, samples);
    }
    return "an order that the peer does not know";
}

static bool answer(int socket, const char *why, const struct samples *samples)
{
    struct peer_answer head = { .count = samples->count };
    size_t size = samples->count * sizeof(*samples->list);

    snprintf(head.why, sizeof(head.why), "%s", why ? why : "");
    return send(socket, &head, sizeof(head), MSG_NOSIGNAL) == sizeof(head) &&
           (size == 0 || send(socket, samples->list, size, MSG_NOSIGNAL) == (ssize_t)size);
}

int main(int argc, char **argv)
{
    CLEANUP_SAMPLES struct samples samples = { 0 };
    struct peer_order order;
    int socket;

    if (argc != 2)
        errx(2, "started by dmabufd-bench only");
    socket = atoi(argv[1]);
    signal(SIGPIPE, SIG_IGN);
    if (!answer(socket, start_dpdk(), &samples))
        return 1;
    while (recv(socket, &order, sizeof(order), MSG_WAITALL) == sizeof(order)) {
        const char *why;

        samples.count = 0;
        why = obey(&order, &samples);
        if (!answer(socket, why, &samples))
            return 1;
    }
    dpdk_release();
    return 0;
}
