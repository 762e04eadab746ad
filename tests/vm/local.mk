# SPDX-License-Identifier: LGPL-2.1-or-later
# Tests that run in a virtual machine. Built by "make check", booted by tests/vm/run.

EXTRA_DIST += \
	tests/vm/boots/contract-fault.boot \
	tests/vm/boots/contract-iommu.boot \
	tests/vm/boots/contract-movable.boot \
	tests/vm/boots/contract.boot \
	tests/vm/boots/service.boot \
	tests/vm/guest-init \
	tests/vm/guest-tests \
	tests/vm/kernel \
	tests/vm/kernel.config \
	tests/vm/run \
	tests/vm/system \
	tests/vm/test-device.sh \
	tests/vm/test-service.sh

check_LTLIBRARIES += tests/vm/libguest.la
tests_vm_libguest_la_SOURCES = \
	common/kernel-abi.h \
	tests/integration/counters.c \
	tests/integration/counters.h \
	tests/vm/contract.c \
	tests/vm/contract.h \
	tests/vm/guest-device.c \
	tests/vm/guest-iommufd.c \
	tests/vm/guest.c \
	tests/vm/guest.h
tests_vm_libguest_la_CPPFLAGS = $(AM_CPPFLAGS) $(CMOCKA_CFLAGS) -D_GNU_SOURCE

guest_ldadd = tests/vm/libguest.la $(CMOCKA_LIBS)
guest_cppflags = $(AM_CPPFLAGS) $(CMOCKA_CFLAGS) -D_GNU_SOURCE

check_PROGRAMS += \
	tests/vm/contract-bind \
	tests/vm/contract-device \
	tests/vm/contract-fault \
	tests/vm/contract-getpa \
	tests/vm/contract-iommu \
	tests/vm/contract-lifetime \
	tests/vm/contract-map \
	tests/vm/contract-memory \
	tests/vm/contract-movable

tests_vm_contract_bind_SOURCES = tests/vm/contract-bind.c
tests_vm_contract_bind_CPPFLAGS = $(guest_cppflags)
tests_vm_contract_bind_LDADD = $(guest_ldadd)
tests_vm_contract_device_SOURCES = tests/vm/contract-device.c
tests_vm_contract_device_CPPFLAGS = $(guest_cppflags)
tests_vm_contract_device_LDADD = $(guest_ldadd)
tests_vm_contract_fault_SOURCES = tests/vm/contract-fault.c
tests_vm_contract_fault_CPPFLAGS = $(guest_cppflags)
tests_vm_contract_fault_LDADD = $(guest_ldadd)
tests_vm_contract_getpa_SOURCES = tests/vm/contract-getpa.c
tests_vm_contract_getpa_CPPFLAGS = $(guest_cppflags)
tests_vm_contract_getpa_LDADD = $(guest_ldadd)
tests_vm_contract_iommu_SOURCES = tests/vm/contract-iommu.c
tests_vm_contract_iommu_CPPFLAGS = $(guest_cppflags)
tests_vm_contract_iommu_LDADD = $(guest_ldadd)
tests_vm_contract_lifetime_SOURCES = tests/vm/contract-lifetime.c
tests_vm_contract_lifetime_CPPFLAGS = $(guest_cppflags)
tests_vm_contract_lifetime_LDADD = $(guest_ldadd) libproto.la
tests_vm_contract_map_SOURCES = tests/vm/contract-map.c
tests_vm_contract_map_CPPFLAGS = $(guest_cppflags)
tests_vm_contract_map_LDADD = $(guest_ldadd)
tests_vm_contract_memory_SOURCES = tests/vm/contract-memory.c
tests_vm_contract_memory_CPPFLAGS = $(guest_cppflags)
tests_vm_contract_memory_LDADD = $(guest_ldadd)
tests_vm_contract_movable_SOURCES = tests/vm/contract-movable.c
tests_vm_contract_movable_CPPFLAGS = $(guest_cppflags)
tests_vm_contract_movable_LDADD = $(guest_ldadd)
