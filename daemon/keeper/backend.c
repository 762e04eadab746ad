/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Choosing the backend; see backend.h. */
#include "daemon/keeper/backend.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/memfd.h"
#include "daemon/keeper/pages.h"
#include "daemon/log.h"

#define IOMMU_GROUPS "/sys/kernel/iommu_groups"

/*
 * Whether some device's DMA is translated. Groups made up by VFIO's no-IOMMU mode have no domain
 * type, and "identity" means the IOMMU lets addresses through.
 */
static bool iommu_translates(void)
{
    DIR *dir = opendir(IOMMU_GROUPS);
    bool translates = false;
    struct dirent *entry;

    if (!dir)
        return false;
    while (!translates && (entry = readdir(dir))) {
        char path[sizeof(IOMMU_GROUPS) + 280], type[32] = "";
        FILE *file;

        snprintf(path, sizeof(path), IOMMU_GROUPS "/%s/type", entry->d_name);
        file = fopen(path, "re");
        if (!file)
            continue;
        translates = fgets(type, sizeof(type), file) && strncmp(type, "DMA", 3) == 0;
        fclose(file);
    }
    closedir(dir);
    return translates;
}

static int open_auto(const struct backend_config *config, struct backend **ret, struct fault *fault)
{
    struct fault why = { 0 };
    int r = iommufd_backend_open(config, ret, &why);

    if (r == 0)
        return 0;
    if (r == -EBUSY || r == -ECANCELED) {
        *fault = why;
        fault_prefix(fault, "backend iommufd");
        return r;
    }
    if (iommu_translates())
        return fault_set(fault, DMABUFD_CODE_UNSUPPORTED, EOPNOTSUPP,
                         "no backend can serve: iommufd: %s; pagemap: an IOMMU translates on this "
                         "host, so devices do not see physical addresses",
                         why.text);
    r = pagemap_backend_open(config, ret, fault);
    if (r < 0) {
        struct fault both = *fault;

        return fault_set(fault, both.code, both.error,
                         "no backend can serve: iommufd: %.130s; pagemap: %.130s", why.text,
                         both.text);
    }
    snprintf((*ret)->reason, sizeof((*ret)->reason), "iommufd cannot serve: %s", why.text);
    if (config->device_count > 0)
        log_warning("a device was named, but backend pagemap is taken: %s", (*ret)->reason);
    return 0;
}

int backend_open(const struct backend_config *config, struct backend **ret, struct fault *fault)
{
    int r;

    if (strcmp(config->name, "auto") == 0)
        return open_auto(config, ret, fault);
    if (strcmp(config->name, "iommufd") == 0)
        r = iommufd_backend_open(config, ret, fault);
    else if (strcmp(config->name, "pagemap") == 0)
        r = pagemap_backend_open(config, ret, fault);
    else
        r = fake_backend_open(config, ret, fault);
    if (r < 0)
        fault_prefix(fault, "backend %s", config->name);
    else
        snprintf((*ret)->reason, sizeof((*ret)->reason), "asked for by name");
    return r;
}

struct backend *backend_close(struct backend *backend)
{
    if (backend)
        backend->ops->close(backend);
    return NULL;
}

int backend_try(struct backend *backend,
                int (*look)(struct backend *backend, struct mapping *mapping, struct fault *fault),
                struct fault *fault)
{
    CLEANUP_FD int fd = -1;
    struct mapping mapping = { .size = PAGE_4K, .page_size = PAGE_4K };
    int r = memfd_open("dmabufd-check", 0, &fd);

    if (r < 0 || ftruncate(fd, PAGE_4K) < 0)
        return fault_set(fault, DMABUFD_CODE_NO_MEMORY, ENOMEM, "cannot make a memfd");
    mapping.fd = fd;
    r = backend->ops->begin(backend, &mapping, fault);
    if (r < 0)
        return r;
    r = backend->ops->pin(backend, &mapping, 0, PAGE_4K, fault);
    if (r == 0) {
        int undone;

        r = look(backend, &mapping, fault);
        undone = backend->ops->unpin(backend, &mapping, 0, PAGE_4K, r < 0 ? NULL : fault);
        r = r < 0 ? r : undone;
    }
    backend->ops->end(backend, &mapping);
    return r;
}

uint64_t backend_piece(const struct mapping *mapping, uint64_t offset)
{
    uint64_t longest = mapping->piece ? mapping->piece : BACKEND_PIECE;
    uint64_t piece = mapping->page_size > longest ? mapping->page_size : longest;
    uint64_t rest = mapping->size - offset;

    return rest < piece ? rest : piece;
}
