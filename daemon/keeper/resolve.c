/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Exact spans out of inexact answers; see resolve.h. */
#include "daemon/keeper/resolve.h"

#include <errno.h>
#include <string.h>

#include "daemon/keeper/pages.h"

static uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static int explain(int error, struct fault *fault)
{
    switch (error) {
    case EPERM:
        return fault_set(fault, DMABUFD_CODE_BACKEND, EPERM,
                         "the kernel answers for addresses only with CAP_SYS_RAWIO, which the "
                         "keeper does not have: start it as root or with that capability");
    case ENOENT:
        return fault_set(
            fault, DMABUFD_CODE_INTERNAL, ENOENT,
            "a page that should be mapped is not: its mapping was removed from outside");
    case EOPNOTSUPP:
        return fault_set(fault, DMABUFD_CODE_BACKEND, EOPNOTSUPP,
                         "the address space has no domain without an IOMMU: the device it was made "
                         "with is behind a real IOMMU, or this kernel lacks CONFIG_VFIO_NOIOMMU");
    case ENOTTY:
        return fault_set(
            fault, DMABUFD_CODE_BACKEND, ENOTTY,
            "this kernel has no IOMMU_IOAS_NOIOMMU_GET_PA: Linux 7.3 is the first with "
            "it; --backend=pagemap works without");
    case EINVAL:
        return fault_set(
            fault, DMABUFD_CODE_BACKEND, EINVAL,
            "the kernel takes the question for invalid: its memory was revoked, or its "
            "IOMMU_IOAS_NOIOMMU_GET_PA is not the one known here");
    case EOVERFLOW:
        return fault_set(fault, DMABUFD_CODE_INTERNAL, EOVERFLOW,
                         "the question wraps the address space");
    default:
        return fault_set(fault, DMABUFD_CODE_BACKEND, error,
                         "the kernel could not resolve the memory: %s", strerror(error));
    }
}

int resolve(const struct resolver *resolver, uint64_t iova, uint64_t length, struct spans *spans,
            struct fault *fault)
{
    uint64_t end;

    if (length == 0 || __builtin_add_overflow(iova, length - 1, &end))
        return fault_set(fault, DMABUFD_CODE_INTERNAL, EINVAL, "nothing to resolve, or it wraps");
    while (length > 0) {
        uint64_t page = resolver->huge_page ? resolver->huge_page : PAGE_4K;
        uint64_t page_rest = min_u64(page - (iova & (page - 1)), length);
        uint64_t asked = resolver->huge_page ? 1 : min_u64(length, RESOLVE_ASK_MAX);
        uint64_t pa, run, last;
        int r = resolver->ask(resolver->data, iova, asked, &pa, &run);

        if (r < 0)
            return explain(-r, fault);
        run = resolver->huge_page && run > 0 ? page_rest : min_u64(run, asked);
        /* A page is contiguous: less than its rest, or another place within it, is no answer. */
        if (run < page_rest || ((pa ^ iova) & (page - 1)) ||
            __builtin_add_overflow(pa, run - 1, &last))
            return fault_set(fault, DMABUFD_CODE_BACKEND, EIO,
                             "the kernel's answer makes no sense: IOMMU_IOAS_NOIOMMU_GET_PA is "
                             "another call on this kernel");
        r = spans_append(spans, pa, run);
        if (r < 0)
            return fault_set(fault, DMABUFD_CODE_NO_MEMORY, -r,
                             "the daemon has no memory for the scatter list");
        iova += run;
        length -= run;
    }
    return 0;
}
