/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Guest: what the test programs that run in the virtual machine share. PCI devices by sysfs, thin
 * wrappers of iommufd and VFIO, the counters that show what the kernel pinned, and the edu device's
 * DMA engine.
 *
 * Independent of the daemon's own code on purpose: a test must not repeat the mistake it looks for.
 * Runs as root and in the guest only. Calls return 0 or a negative errno unless said otherwise, so
 * that a test can assert the exact one.
 */
#ifndef TESTS_VM_GUEST_H
#define TESTS_VM_GUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/kernel-abi.h"
#include "tests/integration/counters.h"

#define GUEST_PAGE UINT64_C(0x1000)
#define GUEST_2M   UINT64_C(0x200000)
#define GUEST_1G   UINT64_C(0x40000000)

#define MAP_RW       (ABI_IOMMU_MAP_READABLE | ABI_IOMMU_MAP_WRITEABLE)
#define MAP_RW_FIXED (MAP_RW | ABI_IOMMU_MAP_FIXED_IOVA)

/* Users made by guest-init. */
#define GUEST_UID_CLIENT 1001

/* ---- PCI devices ---- */

#define PCI_ID_EDU  UINT32_C(0x123411e8)
#define PCI_ID_NVME UINT32_C(0x1b360010)

struct bdf {
    char name[16]; /* 0000:00:02.0 */
};

/** pci_find() - the @index-th device with vendor and device @id, in the order of addresses */
int pci_find(uint32_t id, unsigned int index, struct bdf *ret_bdf);

/** pci_unbind() - take the device from its driver, if it has one */
int pci_unbind(const struct bdf *bdf);

/** pci_bind_vfio() - give the device to vfio-pci; the errno is the probe's; 0 if already */
int pci_bind_vfio(const struct bdf *bdf);

/** pci_command() - the command register, read without any VFIO descriptor; or a negative errno */
int pci_command(const struct bdf *bdf);

/** pci_attribute() - first line of a sysfs file of the device, -ENOENT if there is none */
int pci_attribute(const struct bdf *bdf, const char *name, char *buf, size_t size);

/** noiommu_mode() - set vfio.enable_unsafe_noiommu_mode, returns what it was */
bool noiommu_mode(bool on);

/* ---- VFIO ---- */

/** vfio_path() - the device's character device; -ENOENT while it has none */
int vfio_path(const struct bdf *bdf, char *buf, size_t size);

/** vfio_open() - a descriptor of it, not bound to anything; or a negative errno */
int vfio_open(const struct bdf *bdf);

int vfio_bind(int cdev, int iommufd, uint32_t *ret_devid);
int vfio_attach(int cdev, uint32_t pt_id, uint32_t *ret_hwpt);
int vfio_detach(int cdev);
int vfio_reset(int cdev);
int vfio_info_flags(int cdev, uint32_t *ret_flags);
int vfio_region(int cdev, uint32_t index, uint64_t *ret_offset, uint64_t *ret_size);
int vfio_command(int cdev, uint16_t *ret_value);
int vfio_set_command(int cdev, uint16_t value);

/** vfio_set_bus_master() - on or off, the rest of the command register stays */
int vfio_set_bus_master(int cdev, bool on);

/* ---- iommufd ---- */

int iommufd_open(void);
int ioas_alloc(int iommufd, uint32_t *ret_ioas);
int hwpt_alloc(int iommufd, uint32_t devid, uint32_t pt_id, uint32_t flags, uint32_t *ret_hwpt);
int iommufd_destroy(int iommufd, uint32_t id);

/** map_file() - IOMMU_IOAS_MAP_FILE; *@iova is output, and with ABI_IOMMU_MAP_FIXED_IOVA input */
int map_file(int iommufd, uint32_t ioas, int fd, uint64_t start, uint64_t length, uint32_t flags,
             uint64_t *iova);
int map_memory(int iommufd, uint32_t ioas, const void *memory, uint64_t length, uint32_t flags,
               uint64_t *iova);
int copy_area(int iommufd, uint32_t ioas, uint64_t src, uint64_t length, uint32_t flags,
              uint64_t *dst);

/** unmap() - *@length is the range asked for, and then what was unmapped */
int unmap(int iommufd, uint32_t ioas, uint64_t iova, uint64_t *length);

/** get_pa() - *@length is the most asked for, and then what is contiguous */
int get_pa(int iommufd, uint32_t ioas, uint64_t iova, uint64_t *length, uint64_t *ret_pa);

/* ---- memory ---- */

/** memfd_sized() - a sealable memfd of @size bytes with no pages yet; @flags as memfd_create(2) */
int memfd_sized(uint64_t size, unsigned int flags);

/** memfd_filled() - the same with all its pages there */
int memfd_filled(uint64_t size, unsigned int flags);

/** memory_of() - map the file shared and writable, or fail the test */
void *memory_of(int fd, uint64_t size);

/** pagemap() - this process's page table entry for @address as /proc/self/pagemap shows it */
uint64_t pagemap(const void *address);

/** physical() - physical address of @address, which must be present */
uint64_t physical(const void *address);

/** number_in() - the number after @key at the start of a line of @file; fails the test if none */
long number_in(const char *file, const char *key);

/** kernel_taint() - /proc/sys/kernel/tainted */
long kernel_taint(void);

/** write_file() - put @text into a file of /proc or /sys */
int write_file(const char *path, const char *text);

/* ---- other processes ---- */

/**
 * as_user() - call @function in a child that is user @uid and has no capability
 *
 * Descriptors are inherited. @function returns 0 or a negative errno (above -120) and must not use
 * assertions, which would jump into the parent's test in the wrong process.
 *
 * Return: what @function returned; -ENOTRECOVERABLE if the child died otherwise.
 */
int as_user(uid_t uid, int (*function)(void *), void *arg);

/** in_child() - the same, staying root with every capability */
int in_child(int (*function)(void *), void *arg);

/* ---- edu: a device that does DMA ---- */

/* Its buffer has 4096 bytes, but emulators before QEMU 8 die of a transfer that fills it. */
#define EDU_TRANSFER_MAX 2048

struct edu {
    int cdev;
    int iommufd; /* -1: somebody else's */
    volatile uint8_t *registers;
};

/** edu_init() - use a descriptor that is bound already; it stays the caller's */
int edu_init(struct edu *edu, int cdev);

/** edu_open() - open the device, bind it to an empty context of its own, let it master the bus */
int edu_open(struct edu *edu, const struct bdf *bdf);
void edu_close(struct edu *edu);

/** edu_start() - begin one transfer of at most EDU_TRANSFER_MAX bytes; it happens 100 ms later */
int edu_start(struct edu *edu, bool to_memory, uint64_t dma_addr, size_t length);

/** edu_wait() - until the transfer is over; -ETIMEDOUT */
int edu_wait(struct edu *edu);

/** edu_copy() - memory to device buffer to memory, by DMA, in pieces of EDU_TRANSFER_MAX */
int edu_copy(struct edu *edu, uint64_t dma_src, uint64_t dma_dst, size_t length);

#endif
