/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The iommufd backend, `pa` mode: Linux 7.3 or later, a device without an IOMMU.
 *
 * A pin belongs to a domain, not to a mapping. So at start a donor device is bound for a moment,
 * SHARDS address spaces with a software domain each (IOAS and HWPT) are made, and the donor is
 * closed again: the domains go on pinning and answering without any device, even after the donor
 * was unplugged. Buffers of all clients live in the shards, at IOVAs that are only keys and that we
 * choose, packed, because each far-apart one costs the kernel page tables. Several shards, because
 * a kernel lock is held for each while it walks.
 *
 * The context's descriptor never leaves the keeper: any holder of it can unmap anybody's memory.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "common/cleanup.h"
#include "common/extents.h"
#include "daemon/keeper/backend.h"
#include "daemon/keeper/donor.h"
#include "daemon/keeper/iommu-ioctl.h"
#include "daemon/keeper/pages.h"
#include "daemon/keeper/pfn.h"
#include "daemon/keeper/resolve.h"
#include "daemon/log.h"

#define SHARDS 8U

/* Where the IOVAs of a shard begin and how much room there is: more than any host has memory. */
#define IOVA_START (UINT64_C(1) << 30)
#define IOVA_ROOM  (UINT64_C(1) << 47)

struct shard {
    uint32_t ioas;
    uint32_t hwpt;
    pthread_mutex_t lock; /* of iovas */
    struct extents iovas;
};

struct iommufd {
    struct backend base;
    int fd;
    atomic_uint next_shard;
    struct shard shards[SHARDS];
};

/* What a resolver asks. */
struct question {
    int fd;
    uint32_t ioas;
};

static int ask_kernel(void *data, uint64_t iova, uint64_t length, uint64_t *ret_pa,
                      uint64_t *ret_run)
{
    const struct question *question = data;

    return iommu_ioas_noiommu_get_pa(question->fd, question->ioas, iova, length, ret_pa, ret_run);
}

static void iommufd_close(struct backend *backend)
{
    struct iommufd *iommufd = (struct iommufd *)backend;

    for (size_t i = 0; i < SHARDS; i++) {
        pthread_mutex_destroy(&iommufd->shards[i].lock);
        extents_deinit(&iommufd->shards[i].iovas);
    }
    fd_close(&iommufd->fd);
    free(iommufd);
}

static int iommufd_begin(struct backend *backend, struct mapping *mapping, struct fault *fault)
{
    struct iommufd *iommufd = (struct iommufd *)backend;
    uint32_t index = atomic_fetch_add(&iommufd->next_shard, 1) % SHARDS;
    struct shard *shard = &iommufd->shards[index];
    uint64_t alignment = mapping->size >= PAGE_2M ? PAGE_2M : PAGE_4K;
    int r;

    /* Huge pages at IOVAs aligned to them: resolve() relies on it. */
    if (mapping->page_size > alignment)
        alignment = mapping->page_size;
    pthread_mutex_lock(&shard->lock);
    r = extents_take(&shard->iovas, mapping->size, alignment, &mapping->u.iommufd.iova);
    pthread_mutex_unlock(&shard->lock);
    if (r < 0)
        return fault_set(fault, DMABUFD_CODE_TOO_LARGE, ENOMEM, "no room in the address space");
    mapping->u.iommufd.shard = index;
    return 0;
}

static int explain_map(int error, struct fault *fault)
{
    switch (error) {
    case ENOMEM:
        return fault_set(fault, DMABUFD_CODE_NO_MEMORY, ENOMEM,
                         "the kernel could not pin the memory: out of memory, pages that cannot be "
                         "moved out of a movable zone, or the memory lock limit (the keeper needs "
                         "CAP_IPC_LOCK or LimitMEMLOCK=infinity)");
    case EEXIST:
        return fault_set(fault, DMABUFD_CODE_INTERNAL, EEXIST,
                         "the place chosen for the mapping is taken");
    case ENOTTY:
        return fault_set(fault, DMABUFD_CODE_UNSUPPORTED, ENOTTY,
                         "this kernel has no IOMMU_IOAS_MAP_FILE: Linux 6.13 is the first with it");
    default:
        return fault_set(fault, DMABUFD_CODE_BACKEND, error, "the kernel could not map: %s",
                         strerror(error));
    }
}

static int iommufd_pin(struct backend *backend, struct mapping *mapping, uint64_t offset,
                       uint64_t length, struct fault *fault)
{
    struct iommufd *iommufd = (struct iommufd *)backend;
    int r = iommu_ioas_map_file(iommufd->fd, iommufd->shards[mapping->u.iommufd.shard].ioas,
                                mapping->fd, mapping->start + offset, length,
                                mapping->u.iommufd.iova + offset);

    return r < 0 ? explain_map(-r, fault) : 0;
}

static int iommufd_resolve(struct backend *backend, struct mapping *mapping, uint64_t offset,
                           uint64_t length, struct spans *spans, struct fault *fault)
{
    struct iommufd *iommufd = (struct iommufd *)backend;
    struct question question = { iommufd->fd, iommufd->shards[mapping->u.iommufd.shard].ioas };
    struct resolver resolver = { .ask = ask_kernel,
                                 .data = &question,
                                 .huge_page =
                                     mapping->page_size > PAGE_4K ? mapping->page_size : 0 };

    return resolve(&resolver, mapping->u.iommufd.iova + offset, length, spans, fault);
}

static int iommufd_unpin(struct backend *backend, struct mapping *mapping, uint64_t offset,
                         uint64_t length, struct fault *fault)
{
    struct iommufd *iommufd = (struct iommufd *)backend;
    int r = iommu_ioas_unmap(iommufd->fd, iommufd->shards[mapping->u.iommufd.shard].ioas,
                             mapping->u.iommufd.iova + offset, length);

    if (r < 0)
        return fault_set(fault, DMABUFD_CODE_BACKEND, -r, "the kernel could not unmap: %s",
                         strerror(-r));
    return 0;
}

static void iommufd_end(struct backend *backend, struct mapping *mapping)
{
    struct iommufd *iommufd = (struct iommufd *)backend;
    struct shard *shard = &iommufd->shards[mapping->u.iommufd.shard];

    pthread_mutex_lock(&shard->lock);
    if (extents_give(&shard->iovas, mapping->u.iommufd.iova, mapping->size) < 0)
        log_err("defect: an IOVA range was given back that was not taken");
    pthread_mutex_unlock(&shard->lock);
}

static const struct backend_ops iommufd_ops = {
    .close = iommufd_close,
    .begin = iommufd_begin,
    .pin = iommufd_pin,
    .resolve = iommufd_resolve,
    .unpin = iommufd_unpin,
    .end = iommufd_end,
};

static int make_shards(struct iommufd *iommufd, uint32_t device, struct fault *fault)
{
    for (size_t i = 0; i < SHARDS; i++) {
        struct shard *shard = &iommufd->shards[i];
        int r = iommu_ioas_alloc(iommufd->fd, &shard->ioas);

        if (r == 0)
            r = iommu_hwpt_alloc(iommufd->fd, device, shard->ioas, &shard->hwpt);
        if (r < 0)
            return fault_set(fault, DMABUFD_CODE_BACKEND, -r,
                             "cannot make a domain that pins without a device (IOMMU_HWPT_ALLOC: "
                             "%s): Linux 7.3 is the first that can",
                             strerror(-r));
        r = extents_init(&shard->iovas, IOVA_START, IOVA_ROOM);
        if (r < 0)
            return fault_set(fault, DMABUFD_CODE_NO_MEMORY, ENOMEM, "out of memory");
    }
    return 0;
}

/* Two independent sources must agree on one page: the ioctl's number could be another call on a
 * vendor's kernel. Without CAP_SYS_ADMIN the second source is silent and there is no check. */
static int check_page(const void *page, const struct spans *told, struct fault *fault)
{
    struct spans seen = { 0 };
    CLEANUP_FD int pagemap = -1;
    bool same;
    int r;

    if (pfn_open(&pagemap, NULL) < 0) {
        log_info("addresses are not checked against /proc/self/pagemap: no CAP_SYS_ADMIN");
        return 0;
    }
    r = pfn_resolve(pagemap, page, PAGE_4K, PAGE_4K, &seen, fault);
    if (r < 0)
        return r;
    same = seen.list[0].dma_addr == told->list[0].dma_addr;
    spans_deinit(&seen);
    if (!same)
        return fault_set(fault, DMABUFD_CODE_BACKEND, EIO,
                         "the kernel's two answers for the address of a page differ "
                         "(IOMMU_IOAS_NOIOMMU_GET_PA and /proc/self/pagemap): not trusted");
    return 0;
}

static int check_mapped(struct backend *backend, struct mapping *mapping, struct fault *fault)
{
    volatile unsigned char *page;
    struct spans spans = { 0 };
    int r;

    page = mmap(NULL, PAGE_4K, PROT_READ | PROT_WRITE, MAP_SHARED, mapping->fd, 0);
    if (page == MAP_FAILED)
        return fault_set(fault, DMABUFD_CODE_NO_MEMORY, errno, "out of memory");
    page[0] = 1;
    r = iommufd_resolve(backend, mapping, 0, PAGE_4K, &spans, fault);
    if (r == 0)
        r = check_page((const void *)page, &spans, fault);
    spans_deinit(&spans);
    munmap((void *)page, PAGE_4K);
    return r;
}

/* The first that can be had. */
static int bind_donor(struct iommufd *iommufd, const struct backend_config *config, int *ret_fd,
                      uint32_t *ret_device, size_t *ret_index, struct fault *fault)
{
    int r;

    do {
        r = donor_bind(iommufd->fd, config->devices, config->device_count, ret_fd, ret_device,
                       ret_index, fault);
        if (r != -EBUSY || !config->wait)
            return r;
        r = config->wait(config->wait_data, fault);
    } while (r == 0);
    return r;
}

static int start(struct iommufd *iommufd, const struct backend_config *config, struct fault *fault)
{
    CLEANUP_FD int donor = -1;
    uint32_t device;
    size_t index;
    int r;

    iommufd->fd = open("/dev/iommu", O_RDWR | O_CLOEXEC);
    if (iommufd->fd < 0)
        return fault_set(fault, DMABUFD_CODE_UNSUPPORTED, errno, "cannot open /dev/iommu: %s%s",
                         strerror(errno),
                         errno == ENOENT ? " (a kernel with CONFIG_IOMMUFD has it)" : "");
    r = bind_donor(iommufd, config, &donor, &device, &index, fault);
    if (r < 0)
        return r;
    r = make_shards(iommufd, device, fault);
    if (r < 0)
        return r;
    log_info("device %s lent its domain type and was closed again", config->devices[index]);
    fd_close(&donor);
    return backend_try(&iommufd->base, check_mapped, fault);
}

int iommufd_backend_open(const struct backend_config *config, struct backend **ret,
                         struct fault *fault)
{
    struct iommufd *iommufd = calloc(1, sizeof(*iommufd));
    int r;

    if (!iommufd)
        return fault_set(fault, DMABUFD_CODE_NO_MEMORY, ENOMEM, "out of memory");
    iommufd->base = (struct backend){
        .ops = &iommufd_ops, .name = "iommufd", .mode = DMABUFD_MODE_PA, .pin = DMABUFD_PIN_LONGTERM
    };
    iommufd->fd = -1;
    for (size_t i = 0; i < SHARDS; i++)
        pthread_mutex_init(&iommufd->shards[i].lock, NULL);
    r = start(iommufd, config, fault);
    if (r < 0) {
        iommufd_close(&iommufd->base);
        return r;
    }
    snprintf(iommufd->base.reason, sizeof(iommufd->base.reason),
             "iommufd pins and resolves without an IOMMU on this kernel");
    *ret = &iommufd->base;
    return 0;
}
