# The real daemon, driven over its socket.
check_LTLIBRARIES += libharness.la
libharness_la_SOURCES = \
	tests/integration/bystander.c tests/integration/bystander.h \
	tests/integration/counters.c tests/integration/counters.h \
	tests/integration/group.c tests/integration/group.h \
	tests/integration/harness.c tests/integration/harness.h \
	tests/integration/ledger.c tests/integration/ledger.h \
	tests/integration/locked.c tests/integration/locked.h \
	tests/integration/notify.c tests/integration/notify.h \
	tests/integration/own.c tests/integration/own.h \
	tests/integration/players.c tests/integration/players.h \
	tests/integration/raw.c tests/integration/raw.h \
	tests/integration/ready.c tests/integration/ready.h \
	tests/unit/support.c tests/unit/support.h
libharness_la_CPPFLAGS = $(AM_CPPFLAGS) $(CMOCKA_CFLAGS)
libharness_la_LIBADD = libdmabufd.la libproto.la libcommon.la $(CMOCKA_LIBS)

integration_cppflags = $(AM_CPPFLAGS) $(CMOCKA_CFLAGS)

check_PROGRAMS += tests/integration/test-buffers
TESTS += tests/integration/test-buffers
tests_integration_test_buffers_SOURCES = tests/integration/test-buffers.c
tests_integration_test_buffers_CPPFLAGS = $(integration_cppflags)
tests_integration_test_buffers_LDADD = libharness.la

check_PROGRAMS += tests/integration/test-addresses
TESTS += tests/integration/test-addresses
tests_integration_test_addresses_SOURCES = tests/integration/test-addresses.c
tests_integration_test_addresses_CPPFLAGS = $(integration_cppflags)
tests_integration_test_addresses_LDADD = libharness.la

# Run in the virtual machine, see tests/vm/boots/main.boot.
check_PROGRAMS += tests/vm/test-inode-number
tests_vm_test_inode_number_SOURCES = tests/vm/test-inode-number.c
tests_vm_test_inode_number_CPPFLAGS = $(integration_cppflags)
tests_vm_test_inode_number_LDADD = libharness.la
check_PROGRAMS += tests/vm/test-dma
tests_vm_test_dma_SOURCES = tests/vm/test-dma.c tests/vm/orders.c tests/vm/orders.h
tests_vm_test_dma_CPPFLAGS = $(integration_cppflags)
tests_vm_test_dma_LDADD = libharness.la tests/vm/libguest.la
EXTRA_DIST += tests/vm/boots/main.boot tests/vm/boots/pagemap.boot tests/vm/boots/requests.boot

# See tests/vm/boots/donor.boot and contract-iommu.boot.
check_PROGRAMS += tests/vm/test-donor
tests_vm_test_donor_SOURCES = tests/vm/test-donor.c
tests_vm_test_donor_CPPFLAGS = $(integration_cppflags)
tests_vm_test_donor_LDADD = libharness.la tests/vm/libguest.la
check_PROGRAMS += tests/vm/test-behind-iommu
tests_vm_test_behind_iommu_SOURCES = tests/vm/test-behind-iommu.c
tests_vm_test_behind_iommu_CPPFLAGS = $(integration_cppflags)
tests_vm_test_behind_iommu_LDADD = libharness.la tests/vm/libguest.la
EXTRA_DIST += tests/vm/boots/donor.boot

# See tests/vm/boots/lowmem.boot.
check_PROGRAMS += tests/vm/test-lowmem
tests_vm_test_lowmem_SOURCES = tests/vm/test-lowmem.c tests/vm/orders.c tests/vm/orders.h
tests_vm_test_lowmem_CPPFLAGS = $(integration_cppflags)
tests_vm_test_lowmem_LDADD = libharness.la tests/vm/libguest.la
EXTRA_DIST += tests/vm/boots/lowmem.boot

# See tests/vm/boots/nodes.boot.
check_PROGRAMS += tests/vm/test-two-nodes
tests_vm_test_two_nodes_SOURCES = tests/vm/test-two-nodes.c
tests_vm_test_two_nodes_CPPFLAGS = $(integration_cppflags)
tests_vm_test_two_nodes_LDADD = libharness.la tests/vm/libguest.la
EXTRA_DIST += tests/vm/boots/nodes.boot

check_PROGRAMS += tests/integration/test-assembled
TESTS += tests/integration/test-assembled
tests_integration_test_assembled_SOURCES = tests/integration/test-assembled.c
tests_integration_test_assembled_CPPFLAGS = $(integration_cppflags)
tests_integration_test_assembled_LDADD = libharness.la

check_PROGRAMS += tests/integration/test-pool
TESTS += tests/integration/test-pool
tests_integration_test_pool_SOURCES = tests/integration/test-pool.c
tests_integration_test_pool_CPPFLAGS = $(integration_cppflags)
tests_integration_test_pool_LDADD = libharness.la

check_PROGRAMS += tests/integration/test-constraints
TESTS += tests/integration/test-constraints
tests_integration_test_constraints_SOURCES = tests/integration/test-constraints.c
tests_integration_test_constraints_CPPFLAGS = $(integration_cppflags)
tests_integration_test_constraints_LDADD = libharness.la

check_PROGRAMS += tests/integration/test-register
TESTS += tests/integration/test-register
tests_integration_test_register_SOURCES = tests/integration/test-register.c
tests_integration_test_register_CPPFLAGS = $(integration_cppflags)
tests_integration_test_register_LDADD = libharness.la

check_PROGRAMS += tests/integration/test-sharing
TESTS += tests/integration/test-sharing
tests_integration_test_sharing_SOURCES = tests/integration/test-sharing.c
tests_integration_test_sharing_CPPFLAGS = $(integration_cppflags)
tests_integration_test_sharing_LDADD = libharness.la

check_PROGRAMS += tests/integration/test-names
TESTS += tests/integration/test-names
tests_integration_test_names_SOURCES = tests/integration/test-names.c
tests_integration_test_names_CPPFLAGS = $(integration_cppflags)
tests_integration_test_names_LDADD = libharness.la

# The example is a part of the test, so that it can be run by users who may not look into this folder.
check_LTLIBRARIES += tests/integration/libring.la
tests_integration_libring_la_SOURCES = examples/ring.c
tests_integration_libring_la_CPPFLAGS = $(AM_CPPFLAGS) -Dmain=example_ring
tests_integration_libring_la_CFLAGS = $(AM_CFLAGS) -Wno-missing-prototypes
check_PROGRAMS += tests/integration/test-ring
TESTS += tests/integration/test-ring
tests_integration_test_ring_SOURCES = tests/integration/test-ring.c
tests_integration_test_ring_CPPFLAGS = $(integration_cppflags)
tests_integration_test_ring_LDADD = tests/integration/libring.la libharness.la

check_PROGRAMS += tests/integration/test-heap
TESTS += tests/integration/test-heap
tests_integration_test_heap_SOURCES = tests/integration/test-heap.c
tests_integration_test_heap_CPPFLAGS = $(integration_cppflags)
tests_integration_test_heap_LDADD = libharness.la

check_PROGRAMS += tests/integration/test-hostile
TESTS += tests/integration/test-hostile
tests_integration_test_hostile_SOURCES = tests/integration/test-hostile.c
tests_integration_test_hostile_CPPFLAGS = $(integration_cppflags)
tests_integration_test_hostile_LDADD = libharness.la

check_PROGRAMS += tests/integration/test-flood
TESTS += tests/integration/test-flood
tests_integration_test_flood_SOURCES = tests/integration/test-flood.c
tests_integration_test_flood_CPPFLAGS = $(integration_cppflags)
tests_integration_test_flood_LDADD = libharness.la

check_PROGRAMS += tests/integration/test-descriptors
TESTS += tests/integration/test-descriptors
tests_integration_test_descriptors_SOURCES = tests/integration/test-descriptors.c
tests_integration_test_descriptors_CPPFLAGS = $(integration_cppflags)
tests_integration_test_descriptors_LDADD = libharness.la

check_PROGRAMS += tests/integration/test-unanswered
TESTS += tests/integration/test-unanswered
tests_integration_test_unanswered_SOURCES = tests/integration/test-unanswered.c
tests_integration_test_unanswered_CPPFLAGS = $(integration_cppflags)
tests_integration_test_unanswered_LDADD = libharness.la

check_PROGRAMS += tests/integration/test-slow
TESTS += tests/integration/test-slow
tests_integration_test_slow_SOURCES = tests/integration/test-slow.c
tests_integration_test_slow_CPPFLAGS = $(integration_cppflags)
tests_integration_test_slow_LDADD = libharness.la

check_PROGRAMS += tests/integration/test-nodes
TESTS += tests/integration/test-nodes
tests_integration_test_nodes_SOURCES = tests/integration/test-nodes.c
tests_integration_test_nodes_CPPFLAGS = $(integration_cppflags)
tests_integration_test_nodes_LDADD = libharness.la

check_PROGRAMS += tests/integration/test-limits
TESTS += tests/integration/test-limits
tests_integration_test_limits_SOURCES = tests/integration/test-limits.c
tests_integration_test_limits_CPPFLAGS = $(integration_cppflags)
tests_integration_test_limits_LDADD = libharness.la

check_PROGRAMS += tests/integration/test-quota
TESTS += tests/integration/test-quota
tests_integration_test_quota_SOURCES = tests/integration/test-quota.c
tests_integration_test_quota_CPPFLAGS = $(integration_cppflags)
tests_integration_test_quota_LDADD = libharness.la

check_PROGRAMS += tests/integration/test-shortage
TESTS += tests/integration/test-shortage
tests_integration_test_shortage_SOURCES = tests/integration/test-shortage.c
tests_integration_test_shortage_CPPFLAGS = $(integration_cppflags)
tests_integration_test_shortage_LDADD = libharness.la

check_PROGRAMS += tests/integration/test-kept
TESTS += tests/integration/test-kept
tests_integration_test_kept_SOURCES = tests/integration/test-kept.c
tests_integration_test_kept_CPPFLAGS = $(integration_cppflags)
tests_integration_test_kept_LDADD = libharness.la

check_PROGRAMS += tests/integration/test-locked
TESTS += tests/integration/test-locked
tests_integration_test_locked_SOURCES = tests/integration/test-locked.c
tests_integration_test_locked_CPPFLAGS = $(integration_cppflags)
tests_integration_test_locked_LDADD = libharness.la

check_PROGRAMS += tests/integration/test-faults
TESTS += tests/integration/test-faults
tests_integration_test_faults_SOURCES = tests/integration/test-faults.c
tests_integration_test_faults_CPPFLAGS = $(integration_cppflags)
tests_integration_test_faults_LDADD = libharness.la

check_PROGRAMS += tests/integration/test-broker
TESTS += tests/integration/test-broker
tests_integration_test_broker_SOURCES = tests/integration/test-broker.c
tests_integration_test_broker_CPPFLAGS = $(integration_cppflags)
tests_integration_test_broker_LDADD = libharness.la

check_PROGRAMS += tests/integration/test-privilege
TESTS += tests/integration/test-privilege
tests_integration_test_privilege_SOURCES = tests/integration/test-privilege.c
tests_integration_test_privilege_CPPFLAGS = $(integration_cppflags)
tests_integration_test_privilege_LDADD = libharness.la

check_PROGRAMS += tests/integration/test-events
TESTS += tests/integration/test-events
tests_integration_test_events_SOURCES = tests/integration/test-events.c
tests_integration_test_events_CPPFLAGS = $(integration_cppflags)
tests_integration_test_events_LDADD = libharness.la

check_PROGRAMS += tests/integration/test-threads
TESTS += tests/integration/test-threads
tests_integration_test_threads_SOURCES = tests/integration/test-threads.c
tests_integration_test_threads_CPPFLAGS = $(integration_cppflags)
tests_integration_test_threads_LDADD = libharness.la

check_PROGRAMS += tests/integration/test-options
TESTS += tests/integration/test-options
tests_integration_test_options_SOURCES = tests/integration/test-options.c
tests_integration_test_options_CPPFLAGS = $(integration_cppflags)
tests_integration_test_options_LDADD = libharness.la

check_PROGRAMS += tests/integration/test-startup
TESTS += tests/integration/test-startup
tests_integration_test_startup_SOURCES = tests/integration/test-startup.c
tests_integration_test_startup_CPPFLAGS = $(integration_cppflags)
tests_integration_test_startup_LDADD = libharness.la

check_PROGRAMS += tests/integration/test-watchdog
TESTS += tests/integration/test-watchdog
tests_integration_test_watchdog_SOURCES = tests/integration/test-watchdog.c
tests_integration_test_watchdog_CPPFLAGS = $(integration_cppflags)
tests_integration_test_watchdog_LDADD = libharness.la

check_PROGRAMS += tests/integration/test-backends
TESTS += tests/integration/test-backends
tests_integration_test_backends_SOURCES = tests/integration/test-backends.c
tests_integration_test_backends_CPPFLAGS = $(integration_cppflags)
tests_integration_test_backends_LDADD = libharness.la

TESTS += tests/integration/test-ctl.sh
EXTRA_DIST += tests/integration/test-ctl.sh
