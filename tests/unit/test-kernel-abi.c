/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * common/kernel-abi.h against the kernel headers of this machine, of whatever version they are.
 *
 * What those headers do not have yet has no test here. Whether a kernel agrees with the
 * numbers is not asked here: tests/vm/contract-*.c do, on one that runs.
 */
#include "common/kernel-abi.h"

#include <linux/fcntl.h>
#include <linux/memfd.h>
#include <linux/pci_regs.h>
#include <linux/stddef.h>

/* <linux/vfio.h> of Linux 6.10 and later uses it and expects somebody else to define it. */
#ifndef __counted_by
#define __counted_by(member)
#endif
#include <linux/vfio.h>

#ifdef __has_include
#if __has_include(<linux/iommufd.h>)
#include <linux/iommufd.h>
#endif
#endif

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define SAME_NUMBER(ours, theirs) \
    assert_int_equal((unsigned long long)(ours), (unsigned long long)(theirs))
#define SAME_SIZE(name) assert_int_equal(sizeof(struct abi_##name), sizeof(struct name))
/* Ours stops early, or theirs has grown since. */
#define PREFIX_SIZE(name)       assert_true(sizeof(struct abi_##name) <= sizeof(struct name))
#define FIELD_SIZE(type, field) sizeof(((struct type *)0)->field)
#define SAME_FIELD_AS(name, ours, theirs)                                                   \
    do {                                                                                    \
        assert_int_equal(offsetof(struct abi_##name, ours), offsetof(struct name, theirs)); \
        assert_int_equal(FIELD_SIZE(abi_##name, ours), FIELD_SIZE(name, theirs));           \
    } while (0)
#define SAME_FIELD(name, field) SAME_FIELD_AS(name, field, field)

#ifdef IOMMU_IOAS_ALLOC
static void iommufd_destroy_and_alloc(void **state)
{
    (void)state;
    SAME_NUMBER(ABI_IOMMU_DESTROY, IOMMU_DESTROY);
    SAME_SIZE(iommu_destroy);
    SAME_FIELD(iommu_destroy, size);
    SAME_FIELD(iommu_destroy, id);
    SAME_NUMBER(ABI_IOMMU_IOAS_ALLOC, IOMMU_IOAS_ALLOC);
    SAME_SIZE(iommu_ioas_alloc);
    SAME_FIELD(iommu_ioas_alloc, size);
    SAME_FIELD(iommu_ioas_alloc, flags);
    SAME_FIELD(iommu_ioas_alloc, out_ioas_id);
}
#endif

#ifdef IOMMU_IOAS_IOVA_RANGES
static void iommufd_iova_ranges(void **state)
{
    (void)state;
    SAME_SIZE(iommu_iova_range);
    SAME_FIELD(iommu_iova_range, start);
    SAME_FIELD(iommu_iova_range, last);
    SAME_NUMBER(ABI_IOMMU_IOAS_IOVA_RANGES, IOMMU_IOAS_IOVA_RANGES);
    SAME_SIZE(iommu_ioas_iova_ranges);
    SAME_FIELD(iommu_ioas_iova_ranges, size);
    SAME_FIELD(iommu_ioas_iova_ranges, ioas_id);
    SAME_FIELD(iommu_ioas_iova_ranges, num_iovas);
    SAME_FIELD_AS(iommu_ioas_iova_ranges, reserved, __reserved);
    SAME_FIELD(iommu_ioas_iova_ranges, allowed_iovas);
    SAME_FIELD(iommu_ioas_iova_ranges, out_iova_alignment);
    SAME_NUMBER(ABI_IOMMU_IOAS_ALLOW_IOVAS, IOMMU_IOAS_ALLOW_IOVAS);
    SAME_SIZE(iommu_ioas_allow_iovas);
    SAME_FIELD(iommu_ioas_allow_iovas, size);
    SAME_FIELD(iommu_ioas_allow_iovas, ioas_id);
    SAME_FIELD(iommu_ioas_allow_iovas, num_iovas);
    SAME_FIELD_AS(iommu_ioas_allow_iovas, reserved, __reserved);
    SAME_FIELD(iommu_ioas_allow_iovas, allowed_iovas);
}
#endif

#ifdef IOMMU_IOAS_MAP
static void iommufd_map_and_unmap(void **state)
{
    (void)state;
    SAME_NUMBER(ABI_IOMMU_MAP_FIXED_IOVA, IOMMU_IOAS_MAP_FIXED_IOVA);
    SAME_NUMBER(ABI_IOMMU_MAP_WRITEABLE, IOMMU_IOAS_MAP_WRITEABLE);
    SAME_NUMBER(ABI_IOMMU_MAP_READABLE, IOMMU_IOAS_MAP_READABLE);
    SAME_NUMBER(ABI_IOMMU_IOAS_MAP, IOMMU_IOAS_MAP);
    SAME_SIZE(iommu_ioas_map);
    SAME_FIELD(iommu_ioas_map, size);
    SAME_FIELD(iommu_ioas_map, flags);
    SAME_FIELD(iommu_ioas_map, ioas_id);
    SAME_FIELD_AS(iommu_ioas_map, reserved, __reserved);
    SAME_FIELD(iommu_ioas_map, user_va);
    SAME_FIELD(iommu_ioas_map, length);
    SAME_FIELD(iommu_ioas_map, iova);
    SAME_NUMBER(ABI_IOMMU_IOAS_UNMAP, IOMMU_IOAS_UNMAP);
    SAME_SIZE(iommu_ioas_unmap);
    SAME_FIELD(iommu_ioas_unmap, size);
    SAME_FIELD(iommu_ioas_unmap, ioas_id);
    SAME_FIELD(iommu_ioas_unmap, iova);
    SAME_FIELD(iommu_ioas_unmap, length);
}
#endif

#ifdef IOMMU_IOAS_COPY
static void iommufd_copy(void **state)
{
    (void)state;
    SAME_NUMBER(ABI_IOMMU_IOAS_COPY, IOMMU_IOAS_COPY);
    SAME_SIZE(iommu_ioas_copy);
    SAME_FIELD(iommu_ioas_copy, size);
    SAME_FIELD(iommu_ioas_copy, flags);
    SAME_FIELD(iommu_ioas_copy, dst_ioas_id);
    SAME_FIELD(iommu_ioas_copy, src_ioas_id);
    SAME_FIELD(iommu_ioas_copy, length);
    SAME_FIELD(iommu_ioas_copy, dst_iova);
    SAME_FIELD(iommu_ioas_copy, src_iova);
}
#endif

#ifdef IOMMU_OPTION
static void iommufd_option(void **state)
{
    (void)state;
    SAME_NUMBER(ABI_IOMMU_OPTION, IOMMU_OPTION);
    SAME_NUMBER(ABI_IOMMU_OPTION_RLIMIT_MODE, IOMMU_OPTION_RLIMIT_MODE);
    SAME_NUMBER(ABI_IOMMU_OPTION_HUGE_PAGES, IOMMU_OPTION_HUGE_PAGES);
    SAME_NUMBER(ABI_IOMMU_OPTION_OP_SET, IOMMU_OPTION_OP_SET);
    SAME_NUMBER(ABI_IOMMU_OPTION_OP_GET, IOMMU_OPTION_OP_GET);
    SAME_SIZE(iommu_option);
    SAME_FIELD(iommu_option, size);
    SAME_FIELD(iommu_option, option_id);
    SAME_FIELD(iommu_option, op);
    SAME_FIELD_AS(iommu_option, reserved, __reserved);
    SAME_FIELD(iommu_option, object_id);
    SAME_FIELD(iommu_option, val64);
}
#endif

#ifdef IOMMU_IOAS_MAP_FILE
static void iommufd_map_file(void **state)
{
    (void)state;
    SAME_NUMBER(ABI_IOMMU_IOAS_MAP_FILE, IOMMU_IOAS_MAP_FILE);
    SAME_SIZE(iommu_ioas_map_file);
    SAME_FIELD(iommu_ioas_map_file, size);
    SAME_FIELD(iommu_ioas_map_file, flags);
    SAME_FIELD(iommu_ioas_map_file, ioas_id);
    SAME_FIELD(iommu_ioas_map_file, fd);
    SAME_FIELD(iommu_ioas_map_file, start);
    SAME_FIELD(iommu_ioas_map_file, length);
    SAME_FIELD(iommu_ioas_map_file, iova);
}
#endif

#ifdef IOMMU_IOAS_CHANGE_PROCESS
static void iommufd_change_process(void **state)
{
    (void)state;
    SAME_NUMBER(ABI_IOMMU_IOAS_CHANGE_PROCESS, IOMMU_IOAS_CHANGE_PROCESS);
    SAME_SIZE(iommu_ioas_change_process);
    SAME_FIELD(iommu_ioas_change_process, size);
    SAME_FIELD_AS(iommu_ioas_change_process, reserved, __reserved);
}
#endif

#ifdef IOMMU_IOAS_NOIOMMU_GET_PA
static void iommufd_get_pa(void **state)
{
    (void)state;
    SAME_NUMBER(ABI_IOMMU_IOAS_NOIOMMU_GET_PA, IOMMU_IOAS_NOIOMMU_GET_PA);
    SAME_SIZE(iommu_ioas_noiommu_get_pa);
    SAME_FIELD(iommu_ioas_noiommu_get_pa, size);
    SAME_FIELD(iommu_ioas_noiommu_get_pa, flags);
    SAME_FIELD(iommu_ioas_noiommu_get_pa, ioas_id);
    SAME_FIELD_AS(iommu_ioas_noiommu_get_pa, reserved, __reserved);
    SAME_FIELD(iommu_ioas_noiommu_get_pa, iova);
    SAME_FIELD(iommu_ioas_noiommu_get_pa, length);
    SAME_FIELD(iommu_ioas_noiommu_get_pa, out_phys);
}
#endif

/* The fields and flags came over several releases; this call is of the last of them. */
#ifdef IOMMU_HWPT_INVALIDATE
static void iommufd_hwpt_alloc(void **state)
{
    (void)state;
    SAME_NUMBER(ABI_IOMMU_HWPT_ALLOC, IOMMU_HWPT_ALLOC);
    SAME_NUMBER(ABI_IOMMU_HWPT_ALLOC_NEST_PARENT, IOMMU_HWPT_ALLOC_NEST_PARENT);
    SAME_NUMBER(ABI_IOMMU_HWPT_ALLOC_DIRTY_TRACKING, IOMMU_HWPT_ALLOC_DIRTY_TRACKING);
    SAME_NUMBER(ABI_IOMMU_HWPT_DATA_NONE, IOMMU_HWPT_DATA_NONE);
    PREFIX_SIZE(iommu_hwpt_alloc);
    SAME_FIELD(iommu_hwpt_alloc, size);
    SAME_FIELD(iommu_hwpt_alloc, flags);
    SAME_FIELD(iommu_hwpt_alloc, dev_id);
    SAME_FIELD(iommu_hwpt_alloc, pt_id);
    SAME_FIELD(iommu_hwpt_alloc, out_hwpt_id);
    SAME_FIELD_AS(iommu_hwpt_alloc, reserved, __reserved);
    SAME_FIELD(iommu_hwpt_alloc, data_type);
    SAME_FIELD(iommu_hwpt_alloc, data_len);
    SAME_FIELD(iommu_hwpt_alloc, data_uptr);
}
#endif

#ifdef IOMMU_HW_QUEUE_ALLOC
static void iommufd_pasid(void **state)
{
    (void)state;
    SAME_NUMBER(ABI_IOMMU_HWPT_ALLOC_PASID, IOMMU_HWPT_ALLOC_PASID);
    SAME_FIELD(iommu_hw_info, out_max_pasid_log2);
    SAME_FIELD_AS(iommu_hw_info, reserved, __reserved);
}
#endif

/* out_capabilities came with this call. */
#ifdef IOMMU_HWPT_SET_DIRTY_TRACKING
static void iommufd_hw_info(void **state)
{
    (void)state;
    SAME_NUMBER(ABI_IOMMU_GET_HW_INFO, IOMMU_GET_HW_INFO);
    PREFIX_SIZE(iommu_hw_info);
    SAME_FIELD(iommu_hw_info, size);
    SAME_FIELD(iommu_hw_info, flags);
    SAME_FIELD(iommu_hw_info, dev_id);
    SAME_FIELD(iommu_hw_info, data_len);
    SAME_FIELD(iommu_hw_info, data_uptr);
    SAME_FIELD(iommu_hw_info, out_data_type);
    SAME_FIELD(iommu_hw_info, out_capabilities);
}
#endif

static void vfio_device_and_region(void **state)
{
    (void)state;
    SAME_NUMBER(ABI_VFIO_DEVICE_GET_INFO, VFIO_DEVICE_GET_INFO);
    SAME_NUMBER(ABI_VFIO_DEVICE_FLAGS_RESET, VFIO_DEVICE_FLAGS_RESET);
    SAME_NUMBER(ABI_VFIO_DEVICE_FLAGS_PCI, VFIO_DEVICE_FLAGS_PCI);
    PREFIX_SIZE(vfio_device_info);
    SAME_FIELD(vfio_device_info, argsz);
    SAME_FIELD(vfio_device_info, flags);
    SAME_FIELD(vfio_device_info, num_regions);
    SAME_FIELD(vfio_device_info, num_irqs);
    SAME_NUMBER(ABI_VFIO_DEVICE_GET_REGION_INFO, VFIO_DEVICE_GET_REGION_INFO);
    SAME_NUMBER(ABI_VFIO_REGION_INFO_FLAG_READ, VFIO_REGION_INFO_FLAG_READ);
    SAME_NUMBER(ABI_VFIO_REGION_INFO_FLAG_WRITE, VFIO_REGION_INFO_FLAG_WRITE);
    SAME_NUMBER(ABI_VFIO_REGION_INFO_FLAG_MMAP, VFIO_REGION_INFO_FLAG_MMAP);
    PREFIX_SIZE(vfio_region_info);
    SAME_FIELD(vfio_region_info, argsz);
    SAME_FIELD(vfio_region_info, flags);
    SAME_FIELD(vfio_region_info, index);
    SAME_FIELD(vfio_region_info, cap_offset);
    SAME_FIELD(vfio_region_info, size);
    SAME_FIELD(vfio_region_info, offset);
    SAME_NUMBER(ABI_VFIO_DEVICE_RESET, VFIO_DEVICE_RESET);
}

static void vfio_pci_regions(void **state)
{
    (void)state;
    SAME_NUMBER(ABI_VFIO_PCI_BAR0_REGION_INDEX, VFIO_PCI_BAR0_REGION_INDEX);
    SAME_NUMBER(ABI_VFIO_PCI_BAR1_REGION_INDEX, VFIO_PCI_BAR1_REGION_INDEX);
    SAME_NUMBER(ABI_VFIO_PCI_BAR2_REGION_INDEX, VFIO_PCI_BAR2_REGION_INDEX);
    SAME_NUMBER(ABI_VFIO_PCI_BAR3_REGION_INDEX, VFIO_PCI_BAR3_REGION_INDEX);
    SAME_NUMBER(ABI_VFIO_PCI_BAR4_REGION_INDEX, VFIO_PCI_BAR4_REGION_INDEX);
    SAME_NUMBER(ABI_VFIO_PCI_BAR5_REGION_INDEX, VFIO_PCI_BAR5_REGION_INDEX);
    SAME_NUMBER(ABI_VFIO_PCI_ROM_REGION_INDEX, VFIO_PCI_ROM_REGION_INDEX);
    SAME_NUMBER(ABI_VFIO_PCI_CONFIG_REGION_INDEX, VFIO_PCI_CONFIG_REGION_INDEX);
}

#ifdef VFIO_DEVICE_BIND_IOMMUFD
static void vfio_cdev(void **state)
{
    (void)state;
    SAME_NUMBER(ABI_VFIO_DEVICE_BIND_IOMMUFD, VFIO_DEVICE_BIND_IOMMUFD);
    PREFIX_SIZE(vfio_device_bind_iommufd);
    SAME_FIELD(vfio_device_bind_iommufd, argsz);
    SAME_FIELD(vfio_device_bind_iommufd, flags);
    SAME_FIELD(vfio_device_bind_iommufd, iommufd);
    SAME_FIELD(vfio_device_bind_iommufd, out_devid);
    SAME_NUMBER(ABI_VFIO_DEVICE_ATTACH_IOMMUFD_PT, VFIO_DEVICE_ATTACH_IOMMUFD_PT);
    PREFIX_SIZE(vfio_device_attach_iommufd_pt);
    SAME_FIELD(vfio_device_attach_iommufd_pt, argsz);
    SAME_FIELD(vfio_device_attach_iommufd_pt, flags);
    SAME_FIELD(vfio_device_attach_iommufd_pt, pt_id);
    SAME_NUMBER(ABI_VFIO_DEVICE_DETACH_IOMMUFD_PT, VFIO_DEVICE_DETACH_IOMMUFD_PT);
    PREFIX_SIZE(vfio_device_detach_iommufd_pt);
    SAME_FIELD(vfio_device_detach_iommufd_pt, argsz);
    SAME_FIELD(vfio_device_detach_iommufd_pt, flags);
}
#endif

static void pci_configuration(void **state)
{
    (void)state;
    SAME_NUMBER(ABI_PCI_VENDOR_ID, PCI_VENDOR_ID);
    SAME_NUMBER(ABI_PCI_DEVICE_ID, PCI_DEVICE_ID);
    SAME_NUMBER(ABI_PCI_COMMAND, PCI_COMMAND);
    SAME_NUMBER(ABI_PCI_COMMAND_IO, PCI_COMMAND_IO);
    SAME_NUMBER(ABI_PCI_COMMAND_MEMORY, PCI_COMMAND_MEMORY);
    SAME_NUMBER(ABI_PCI_COMMAND_MASTER, PCI_COMMAND_MASTER);
}

#ifdef F_DUPFD_QUERY
static void file_queries(void **state)
{
    (void)state;
    SAME_NUMBER(ABI_F_DUPFD_QUERY, F_DUPFD_QUERY);
}
#endif

#if defined(MFD_NOEXEC_SEAL) && defined(MFD_EXEC) && defined(F_SEAL_EXEC)
static void memfd_flags(void **state)
{
    (void)state;
    SAME_NUMBER(ABI_MFD_NOEXEC_SEAL, MFD_NOEXEC_SEAL);
    SAME_NUMBER(ABI_MFD_EXEC, MFD_EXEC);
    SAME_NUMBER(ABI_F_SEAL_EXEC, F_SEAL_EXEC);
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
#ifdef IOMMU_IOAS_ALLOC
        cmocka_unit_test(iommufd_destroy_and_alloc),
#endif
#ifdef IOMMU_IOAS_IOVA_RANGES
        cmocka_unit_test(iommufd_iova_ranges),
#endif
#ifdef IOMMU_IOAS_MAP
        cmocka_unit_test(iommufd_map_and_unmap),
#endif
#ifdef IOMMU_IOAS_COPY
        cmocka_unit_test(iommufd_copy),
#endif
#ifdef IOMMU_OPTION
        cmocka_unit_test(iommufd_option),
#endif
#ifdef IOMMU_IOAS_MAP_FILE
        cmocka_unit_test(iommufd_map_file),
#endif
#ifdef IOMMU_IOAS_CHANGE_PROCESS
        cmocka_unit_test(iommufd_change_process),
#endif
#ifdef IOMMU_IOAS_NOIOMMU_GET_PA
        cmocka_unit_test(iommufd_get_pa),
#endif
#ifdef IOMMU_HWPT_INVALIDATE
        cmocka_unit_test(iommufd_hwpt_alloc),
#endif
#ifdef IOMMU_HW_QUEUE_ALLOC
        cmocka_unit_test(iommufd_pasid),
#endif
#ifdef IOMMU_HWPT_SET_DIRTY_TRACKING
        cmocka_unit_test(iommufd_hw_info),
#endif
        cmocka_unit_test(vfio_device_and_region),
        cmocka_unit_test(vfio_pci_regions),
#ifdef VFIO_DEVICE_BIND_IOMMUFD
        cmocka_unit_test(vfio_cdev),
#endif
        cmocka_unit_test(pci_configuration),
#ifdef F_DUPFD_QUERY
        cmocka_unit_test(file_queries),
#endif
#if defined(MFD_NOEXEC_SEAL) && defined(MFD_EXEC) && defined(F_SEAL_EXEC)
        cmocka_unit_test(memfd_flags),
#endif
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
