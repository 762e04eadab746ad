# The real daemon, driven over its socket.
check_LTLIBRARIES += libharness.la
libharness_la_SOURCES = tests/integration/harness.c tests/integration/harness.h
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

# Runs in the virtual machine, see tests/vm/boots/main.boot.
check_PROGRAMS += tests/vm/test-dma
tests_vm_test_dma_SOURCES = tests/vm/test-dma.c
tests_vm_test_dma_CPPFLAGS = $(integration_cppflags)
tests_vm_test_dma_LDADD = libharness.la tests/vm/libguest.la
EXTRA_DIST += tests/vm/boots/main.boot

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

check_PROGRAMS += tests/integration/test-heap
TESTS += tests/integration/test-heap
tests_integration_test_heap_SOURCES = tests/integration/test-heap.c
tests_integration_test_heap_CPPFLAGS = $(integration_cppflags)
tests_integration_test_heap_LDADD = libharness.la
