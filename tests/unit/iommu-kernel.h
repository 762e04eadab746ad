/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Iommu-kernel: what the iommufd backend asks of a kernel, answered in a few lines with scripted
 * errors, and a sysfs with one device. For one program at a time: it takes the place of open(2),
 * ioctl(2) and pfn.h, as local.mk tells the linker.
 */
#ifndef UNIT_IOMMU_KERNEL_H
#define UNIT_IOMMU_KERNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/keeper/backend.h"

#define DEVICE   "0000:00:04.0"
#define MAPS_MAX 64

struct map {
    uint32_t ioas;
    uint64_t start, length, iova;
};

struct iommu_kernel {
    int open_error; /* of /dev/iommu */
    int node_error; /* of the device's node */
    int bind_error;
    unsigned int binds_refused; /* so many times; 0: always */
    int hwpt_error;
    int map_error;
    int get_pa_error;
    int unmap_error;
    uint64_t off_by;  /* what GET_PA is wrong by */
    bool has_frames;  /* pagemap shows them */
    bool lacks_frame; /* but not of this page */
    unsigned int binds, ioas, hwpts;
    struct map maps[MAPS_MAX];
    size_t map_count;
    struct map seen[MAPS_MAX]; /* all calls of MAP_FILE */
    size_t seen_count;
};

extern struct iommu_kernel kernel;

/** iommu_set_up() / iommu_tear_down() - for each test; that nothing is left mapped or open is a part. */
int iommu_set_up(void **state);
int iommu_tear_down(void **state);

/** iommu_shell() - a command in the folder of the device in sysfs. */
void iommu_shell(const char *command);

/** iommu_try() - open the backend @name with the device; *@fault begins empty. */
int iommu_try(const char *name, int (*wait)(void *data, struct fault *fault), struct backend **ret,
              struct fault *fault);

/** iommu_open() - the iommufd backend, or the test fails. */
struct backend *iommu_open(void);

/** iommu_assert_refused() - a start that fails, with @names in its sentence, and leaves nothing. */
void iommu_assert_refused(int error, const char *names);

/** iommu_fds() - descriptors that were open when the test began. */
size_t iommu_fds(void);

#endif
