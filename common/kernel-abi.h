/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Kernel ABI: the part of iommufd, of VFIO character devices and of a few file calls that this
 * project uses, for systems whose headers are older than the kernel they run.
 *
 * Every name begins with ABI_ or abi_, so that the real <linux/iommufd.h> and <linux/vfio.h> of any
 * version can be included beside it; tests/unit/test-kernel-abi.c does that and compares. Numbers
 * and layouts only: what the calls do is checked by tests/vm/contract-*.c on a running kernel.
 *
 * A structure stops at the last field that is used. The kernel takes a structure shorter than its
 * own as long as the fields it has always had are there.
 */
#ifndef COMMON_KERNEL_ABI_H
#define COMMON_KERNEL_ABI_H

#include <linux/ioctl.h>
#include <stddef.h>
#include <stdint.h>

#define ABI_LAYOUT(type, bytes) \
    _Static_assert(sizeof(struct type) == (bytes), #type " must be " #bytes " bytes")
#define ABI_FIELD(type, field, at) \
    _Static_assert(offsetof(struct type, field) == (at), #type "." #field " must be at " #at)

/* ---- iommufd: ioctls of /dev/iommu ---- */

#define ABI_IOMMU_TYPE ';'

#define ABI_IOMMU_DESTROY             _IO(ABI_IOMMU_TYPE, 0x80)
#define ABI_IOMMU_IOAS_ALLOC          _IO(ABI_IOMMU_TYPE, 0x81)
#define ABI_IOMMU_IOAS_ALLOW_IOVAS    _IO(ABI_IOMMU_TYPE, 0x82)
#define ABI_IOMMU_IOAS_COPY           _IO(ABI_IOMMU_TYPE, 0x83)
#define ABI_IOMMU_IOAS_IOVA_RANGES    _IO(ABI_IOMMU_TYPE, 0x84)
#define ABI_IOMMU_IOAS_MAP            _IO(ABI_IOMMU_TYPE, 0x85)
#define ABI_IOMMU_IOAS_UNMAP          _IO(ABI_IOMMU_TYPE, 0x86)
#define ABI_IOMMU_OPTION              _IO(ABI_IOMMU_TYPE, 0x87)
#define ABI_IOMMU_HWPT_ALLOC          _IO(ABI_IOMMU_TYPE, 0x89)
#define ABI_IOMMU_GET_HW_INFO         _IO(ABI_IOMMU_TYPE, 0x8a)
#define ABI_IOMMU_IOAS_MAP_FILE       _IO(ABI_IOMMU_TYPE, 0x8f) /* Linux 6.13 */
#define ABI_IOMMU_IOAS_CHANGE_PROCESS _IO(ABI_IOMMU_TYPE, 0x92) /* Linux 6.14 */
#define ABI_IOMMU_IOAS_NOIOMMU_GET_PA _IO(ABI_IOMMU_TYPE, 0x95) /* Linux 7.3 */

struct abi_iommu_destroy {
    uint32_t size;
    uint32_t id;
};
ABI_LAYOUT(abi_iommu_destroy, 8);
ABI_FIELD(abi_iommu_destroy, size, 0);
ABI_FIELD(abi_iommu_destroy, id, 4);

struct abi_iommu_ioas_alloc {
    uint32_t size;
    uint32_t flags;
    uint32_t out_ioas_id;
};
ABI_LAYOUT(abi_iommu_ioas_alloc, 12);
ABI_FIELD(abi_iommu_ioas_alloc, size, 0);
ABI_FIELD(abi_iommu_ioas_alloc, flags, 4);
ABI_FIELD(abi_iommu_ioas_alloc, out_ioas_id, 8);

struct abi_iommu_iova_range {
    uint64_t start;
    uint64_t last; /* inclusive */
};
ABI_LAYOUT(abi_iommu_iova_range, 16);
ABI_FIELD(abi_iommu_iova_range, start, 0);
ABI_FIELD(abi_iommu_iova_range, last, 8);

struct abi_iommu_ioas_iova_ranges {
    uint32_t size;
    uint32_t ioas_id;
    uint32_t num_iovas; /* in: room, out: how many there are */
    uint32_t reserved;
    uint64_t allowed_iovas; /* pointer to struct abi_iommu_iova_range[] */
    uint64_t out_iova_alignment;
};
ABI_LAYOUT(abi_iommu_ioas_iova_ranges, 32);
ABI_FIELD(abi_iommu_ioas_iova_ranges, size, 0);
ABI_FIELD(abi_iommu_ioas_iova_ranges, ioas_id, 4);
ABI_FIELD(abi_iommu_ioas_iova_ranges, num_iovas, 8);
ABI_FIELD(abi_iommu_ioas_iova_ranges, reserved, 12);
ABI_FIELD(abi_iommu_ioas_iova_ranges, allowed_iovas, 16);
ABI_FIELD(abi_iommu_ioas_iova_ranges, out_iova_alignment, 24);

struct abi_iommu_ioas_allow_iovas {
    uint32_t size;
    uint32_t ioas_id;
    uint32_t num_iovas;
    uint32_t reserved;
    uint64_t allowed_iovas;
};
ABI_LAYOUT(abi_iommu_ioas_allow_iovas, 24);
ABI_FIELD(abi_iommu_ioas_allow_iovas, size, 0);
ABI_FIELD(abi_iommu_ioas_allow_iovas, ioas_id, 4);
ABI_FIELD(abi_iommu_ioas_allow_iovas, num_iovas, 8);
ABI_FIELD(abi_iommu_ioas_allow_iovas, reserved, 12);
ABI_FIELD(abi_iommu_ioas_allow_iovas, allowed_iovas, 16);

/* Flags of MAP, MAP_FILE and COPY. */
#define ABI_IOMMU_MAP_FIXED_IOVA (UINT32_C(1) << 0)
#define ABI_IOMMU_MAP_WRITEABLE  (UINT32_C(1) << 1)
#define ABI_IOMMU_MAP_READABLE   (UINT32_C(1) << 2)

struct abi_iommu_ioas_map {
    uint32_t size;
    uint32_t flags;
    uint32_t ioas_id;
    uint32_t reserved;
    uint64_t user_va;
    uint64_t length;
    uint64_t iova;
};
ABI_LAYOUT(abi_iommu_ioas_map, 40);
ABI_FIELD(abi_iommu_ioas_map, size, 0);
ABI_FIELD(abi_iommu_ioas_map, flags, 4);
ABI_FIELD(abi_iommu_ioas_map, ioas_id, 8);
ABI_FIELD(abi_iommu_ioas_map, reserved, 12);
ABI_FIELD(abi_iommu_ioas_map, user_va, 16);
ABI_FIELD(abi_iommu_ioas_map, length, 24);
ABI_FIELD(abi_iommu_ioas_map, iova, 32);

struct abi_iommu_ioas_map_file {
    uint32_t size;
    uint32_t flags;
    uint32_t ioas_id;
    int32_t fd;
    uint64_t start;
    uint64_t length;
    uint64_t iova;
};
ABI_LAYOUT(abi_iommu_ioas_map_file, 40);
ABI_FIELD(abi_iommu_ioas_map_file, size, 0);
ABI_FIELD(abi_iommu_ioas_map_file, flags, 4);
ABI_FIELD(abi_iommu_ioas_map_file, ioas_id, 8);
ABI_FIELD(abi_iommu_ioas_map_file, fd, 12);
ABI_FIELD(abi_iommu_ioas_map_file, start, 16);
ABI_FIELD(abi_iommu_ioas_map_file, length, 24);
ABI_FIELD(abi_iommu_ioas_map_file, iova, 32);

struct abi_iommu_ioas_copy {
    uint32_t size;
    uint32_t flags;
    uint32_t dst_ioas_id;
    uint32_t src_ioas_id;
    uint64_t length;
    uint64_t dst_iova;
    uint64_t src_iova;
};
ABI_LAYOUT(abi_iommu_ioas_copy, 40);
ABI_FIELD(abi_iommu_ioas_copy, size, 0);
ABI_FIELD(abi_iommu_ioas_copy, flags, 4);
ABI_FIELD(abi_iommu_ioas_copy, dst_ioas_id, 8);
ABI_FIELD(abi_iommu_ioas_copy, src_ioas_id, 12);
ABI_FIELD(abi_iommu_ioas_copy, length, 16);
ABI_FIELD(abi_iommu_ioas_copy, dst_iova, 24);
ABI_FIELD(abi_iommu_ioas_copy, src_iova, 32);

struct abi_iommu_ioas_unmap {
    uint32_t size;
    uint32_t ioas_id;
    uint64_t iova;
    uint64_t length; /* in: 0..UINT64_MAX is everything, out: bytes unmapped */
};
ABI_LAYOUT(abi_iommu_ioas_unmap, 24);
ABI_FIELD(abi_iommu_ioas_unmap, size, 0);
ABI_FIELD(abi_iommu_ioas_unmap, ioas_id, 4);
ABI_FIELD(abi_iommu_ioas_unmap, iova, 8);
ABI_FIELD(abi_iommu_ioas_unmap, length, 16);

#define ABI_IOMMU_OPTION_RLIMIT_MODE UINT32_C(0)
#define ABI_IOMMU_OPTION_HUGE_PAGES  UINT32_C(1)
#define ABI_IOMMU_OPTION_OP_SET      UINT16_C(0)
#define ABI_IOMMU_OPTION_OP_GET      UINT16_C(1)

struct abi_iommu_option {
    uint32_t size;
    uint32_t option_id;
    uint16_t op;
    uint16_t reserved;
    uint32_t object_id;
    uint64_t val64;
};
ABI_LAYOUT(abi_iommu_option, 24);
ABI_FIELD(abi_iommu_option, size, 0);
ABI_FIELD(abi_iommu_option, option_id, 4);
ABI_FIELD(abi_iommu_option, op, 8);
ABI_FIELD(abi_iommu_option, reserved, 10);
ABI_FIELD(abi_iommu_option, object_id, 12);
ABI_FIELD(abi_iommu_option, val64, 16);

#define ABI_IOMMU_HWPT_ALLOC_NEST_PARENT    (UINT32_C(1) << 0)
#define ABI_IOMMU_HWPT_ALLOC_DIRTY_TRACKING (UINT32_C(1) << 1)
#define ABI_IOMMU_HWPT_ALLOC_PASID          (UINT32_C(1) << 3)

#define ABI_IOMMU_HWPT_DATA_NONE UINT32_C(0)

struct abi_iommu_hwpt_alloc {
    uint32_t size;
    uint32_t flags;
    uint32_t dev_id;
    uint32_t pt_id;
    uint32_t out_hwpt_id;
    uint32_t reserved;
    uint32_t data_type;
    uint32_t data_len;
    uint64_t data_uptr;
};
ABI_LAYOUT(abi_iommu_hwpt_alloc, 40);
ABI_FIELD(abi_iommu_hwpt_alloc, size, 0);
ABI_FIELD(abi_iommu_hwpt_alloc, flags, 4);
ABI_FIELD(abi_iommu_hwpt_alloc, dev_id, 8);
ABI_FIELD(abi_iommu_hwpt_alloc, pt_id, 12);
ABI_FIELD(abi_iommu_hwpt_alloc, out_hwpt_id, 16);
ABI_FIELD(abi_iommu_hwpt_alloc, reserved, 20);
ABI_FIELD(abi_iommu_hwpt_alloc, data_type, 24);
ABI_FIELD(abi_iommu_hwpt_alloc, data_len, 28);
ABI_FIELD(abi_iommu_hwpt_alloc, data_uptr, 32);

struct abi_iommu_hw_info {
    uint32_t size;
    uint32_t flags;
    uint32_t dev_id;
    uint32_t data_len;
    uint64_t data_uptr;
    uint32_t out_data_type;
    uint8_t out_max_pasid_log2;
    uint8_t reserved[3];
    uint64_t out_capabilities;
};
ABI_LAYOUT(abi_iommu_hw_info, 40);
ABI_FIELD(abi_iommu_hw_info, size, 0);
ABI_FIELD(abi_iommu_hw_info, flags, 4);
ABI_FIELD(abi_iommu_hw_info, dev_id, 8);
ABI_FIELD(abi_iommu_hw_info, data_len, 12);
ABI_FIELD(abi_iommu_hw_info, data_uptr, 16);
ABI_FIELD(abi_iommu_hw_info, out_data_type, 24);
ABI_FIELD(abi_iommu_hw_info, out_max_pasid_log2, 28);
ABI_FIELD(abi_iommu_hw_info, reserved, 29);
ABI_FIELD(abi_iommu_hw_info, out_capabilities, 32);

struct abi_iommu_ioas_change_process {
    uint32_t size;
    uint32_t reserved;
};
ABI_LAYOUT(abi_iommu_ioas_change_process, 8);
ABI_FIELD(abi_iommu_ioas_change_process, size, 0);
ABI_FIELD(abi_iommu_ioas_change_process, reserved, 4);

/*
 * The role of length differed in posted versions of the call (output only; 0 for no limit). Asking
 * with what remains of the mapping and clamping the answer to it is right for all of them.
 */
struct abi_iommu_ioas_noiommu_get_pa {
    uint32_t size;
    uint32_t flags;
    uint32_t ioas_id;
    uint32_t reserved;
    uint64_t iova;
    uint64_t length;   /* in: at most, out: how far it is contiguous */
    uint64_t out_phys; /* CPU physical address of the byte at iova */
};
ABI_LAYOUT(abi_iommu_ioas_noiommu_get_pa, 40);
ABI_FIELD(abi_iommu_ioas_noiommu_get_pa, size, 0);
ABI_FIELD(abi_iommu_ioas_noiommu_get_pa, flags, 4);
ABI_FIELD(abi_iommu_ioas_noiommu_get_pa, ioas_id, 8);
ABI_FIELD(abi_iommu_ioas_noiommu_get_pa, reserved, 12);
ABI_FIELD(abi_iommu_ioas_noiommu_get_pa, iova, 16);
ABI_FIELD(abi_iommu_ioas_noiommu_get_pa, length, 24);
ABI_FIELD(abi_iommu_ioas_noiommu_get_pa, out_phys, 32);

/* ---- VFIO: ioctls of a device, /dev/vfio/devices/... ---- */

#define ABI_VFIO_TYPE ';'

#define ABI_VFIO_DEVICE_GET_INFO          _IO(ABI_VFIO_TYPE, 107)
#define ABI_VFIO_DEVICE_GET_REGION_INFO   _IO(ABI_VFIO_TYPE, 108)
#define ABI_VFIO_DEVICE_RESET             _IO(ABI_VFIO_TYPE, 111)
#define ABI_VFIO_DEVICE_BIND_IOMMUFD      _IO(ABI_VFIO_TYPE, 118)
#define ABI_VFIO_DEVICE_ATTACH_IOMMUFD_PT _IO(ABI_VFIO_TYPE, 119)
#define ABI_VFIO_DEVICE_DETACH_IOMMUFD_PT _IO(ABI_VFIO_TYPE, 120)

#define ABI_VFIO_DEVICE_FLAGS_RESET (UINT32_C(1) << 0)
#define ABI_VFIO_DEVICE_FLAGS_PCI   (UINT32_C(1) << 1)

struct abi_vfio_device_info {
    uint32_t argsz;
    uint32_t flags;
    uint32_t num_regions;
    uint32_t num_irqs;
};
ABI_LAYOUT(abi_vfio_device_info, 16);
ABI_FIELD(abi_vfio_device_info, argsz, 0);
ABI_FIELD(abi_vfio_device_info, flags, 4);
ABI_FIELD(abi_vfio_device_info, num_regions, 8);
ABI_FIELD(abi_vfio_device_info, num_irqs, 12);

#define ABI_VFIO_REGION_INFO_FLAG_READ  (UINT32_C(1) << 0)
#define ABI_VFIO_REGION_INFO_FLAG_WRITE (UINT32_C(1) << 1)
#define ABI_VFIO_REGION_INFO_FLAG_MMAP  (UINT32_C(1) << 2)

#define ABI_VFIO_PCI_BAR0_REGION_INDEX   UINT32_C(0)
#define ABI_VFIO_PCI_BAR1_REGION_INDEX   UINT32_C(1)
#define ABI_VFIO_PCI_BAR2_REGION_INDEX   UINT32_C(2)
#define ABI_VFIO_PCI_BAR3_REGION_INDEX   UINT32_C(3)
#define ABI_VFIO_PCI_BAR4_REGION_INDEX   UINT32_C(4)
#define ABI_VFIO_PCI_BAR5_REGION_INDEX   UINT32_C(5)
#define ABI_VFIO_PCI_ROM_REGION_INDEX    UINT32_C(6)
#define ABI_VFIO_PCI_CONFIG_REGION_INDEX UINT32_C(7)

struct abi_vfio_region_info {
    uint32_t argsz;
    uint32_t flags;
    uint32_t index;
    uint32_t cap_offset;
    uint64_t size;
    uint64_t offset; /* where the region begins in the device file */
};
ABI_LAYOUT(abi_vfio_region_info, 32);
ABI_FIELD(abi_vfio_region_info, argsz, 0);
ABI_FIELD(abi_vfio_region_info, flags, 4);
ABI_FIELD(abi_vfio_region_info, index, 8);
ABI_FIELD(abi_vfio_region_info, cap_offset, 12);
ABI_FIELD(abi_vfio_region_info, size, 16);
ABI_FIELD(abi_vfio_region_info, offset, 24);

struct abi_vfio_device_bind_iommufd {
    uint32_t argsz;
    uint32_t flags;
    int32_t iommufd;
    uint32_t out_devid;
};
ABI_LAYOUT(abi_vfio_device_bind_iommufd, 16);
ABI_FIELD(abi_vfio_device_bind_iommufd, argsz, 0);
ABI_FIELD(abi_vfio_device_bind_iommufd, flags, 4);
ABI_FIELD(abi_vfio_device_bind_iommufd, iommufd, 8);
ABI_FIELD(abi_vfio_device_bind_iommufd, out_devid, 12);

struct abi_vfio_device_attach_iommufd_pt {
    uint32_t argsz;
    uint32_t flags;
    uint32_t pt_id; /* in: IOAS or HWPT, out: the HWPT attached */
};
ABI_LAYOUT(abi_vfio_device_attach_iommufd_pt, 12);
ABI_FIELD(abi_vfio_device_attach_iommufd_pt, argsz, 0);
ABI_FIELD(abi_vfio_device_attach_iommufd_pt, flags, 4);
ABI_FIELD(abi_vfio_device_attach_iommufd_pt, pt_id, 8);

struct abi_vfio_device_detach_iommufd_pt {
    uint32_t argsz;
    uint32_t flags;
};
ABI_LAYOUT(abi_vfio_device_detach_iommufd_pt, 8);
ABI_FIELD(abi_vfio_device_detach_iommufd_pt, argsz, 0);
ABI_FIELD(abi_vfio_device_detach_iommufd_pt, flags, 4);

/* ---- PCI configuration space: offsets and bits ---- */

#define ABI_PCI_VENDOR_ID      0x00
#define ABI_PCI_DEVICE_ID      0x02
#define ABI_PCI_COMMAND        0x04
#define ABI_PCI_COMMAND_IO     UINT16_C(0x0001)
#define ABI_PCI_COMMAND_MEMORY UINT16_C(0x0002)
#define ABI_PCI_COMMAND_MASTER UINT16_C(0x0004)

/* ---- files ---- */

#define ABI_F_DUPFD_QUERY 1027 /* Linux 6.10: are two descriptors one open file */

#define ABI_MFD_NOEXEC_SEAL 0x0008U /* Linux 6.3 */
#define ABI_MFD_EXEC        0x0010U /* Linux 6.3 */
#define ABI_F_SEAL_EXEC     0x0020  /* Linux 6.3 */

#undef ABI_LAYOUT
#undef ABI_FIELD

#endif
