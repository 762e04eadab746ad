# SPDX-License-Identifier: LGPL-2.1-or-later
# The library, the tool, and what a program needs to build against them.
noinst_LTLIBRARIES += libclient.la
libclient_la_SOURCES = \
	client/api.h \
	client/arena.c client/arena.h \
	client/batch.c \
	client/buffer.c client/buffer.h \
	client/call.c client/call.h \
	client/chunks.c client/chunks.h \
	client/connection.c client/connection.h \
	client/event.c client/event.h \
	client/heap.c client/heap.h \
	client/heap-cache.c client/heap-cache.h \
	client/heap-classes.c client/heap-classes.h \
	client/heap-create.c \
	client/heap-map.c client/heap-map.h \
	client/heap-pages.c client/heap-pages.h \
	client/heap-slab.c client/heap-slab.h \
	client/heap-supply.c client/heap-supply.h \
	client/inspect.c client/inspect.h \
	client/last-error.c client/last-error.h \
	client/pool.c \
	client/query.c \
	client/registry.c client/registry.h \
	client/reply.c client/reply.h \
	client/sharing.c \
	client/translate.c
libclient_la_LIBADD = libproto.la

include_HEADERS += client/dmabufd.h client/dmabufd-event.h client/dmabufd-heap.h \
	client/dmabufd-inline.h client/dmabufd-pool.h client/dmabufd-sharing.h common/dmabufd-types.h

# Everything is in libclient.la, which tests link too. Current, revision, age: a release that adds
# symbols is current+1:0:age+1, and adds a node to libdmabufd.sym; one that changes none is +1 in
# the middle.
lib_LTLIBRARIES += libdmabufd.la
libdmabufd_la_SOURCES =
libdmabufd_la_LIBADD = libclient.la
libdmabufd_la_LDFLAGS = $(AM_LDFLAGS) -version-info 0:0:0 \
	-Wl,--version-script=$(top_srcdir)/client/libdmabufd.sym
EXTRA_libdmabufd_la_DEPENDENCIES = client/libdmabufd.sym

bin_PROGRAMS += dmabufctl
dmabufctl_SOURCES = \
	client/binding.c client/binding.h \
	client/ctl.h \
	client/ctl-alloc.c client/ctl-alloc.h \
	client/ctl-daemon.c client/ctl-daemon.h \
	client/ctl-device.c \
	client/ctl-hugepages.c client/ctl-hugepages.h \
	client/ctl-ids.c client/ctl-ids.h \
	client/ctl-list.c \
	client/ctl-names.c \
	client/ctl-open.c \
	client/ctl-output.c client/ctl-output.h \
	client/ctl-pool.c client/ctl-pool.h \
	client/ctl-pool-map.c \
	client/ctl-pool-resize.c \
	client/ctl-run.c \
	client/ctl-status.c \
	client/ctl-unpublish.c \
	client/dmabufctl.c \
	client/usage.c client/usage.h
dmabufctl_CPPFLAGS = $(AM_CPPFLAGS) $(JANSSON_CFLAGS) -DDMABUFD_PATH='"$(sbindir)/dmabufd"'
dmabufctl_LDADD = libdmabufd.la libcommon.la $(JANSSON_LIBS)

# The directories are only known to make.
pkgconfig_DATA += client/libdmabufd.pc
EXTRA_DIST += client/libdmabufd.pc.in client/libdmabufd.sym client/dmabufctl.bash-completion
CLEANFILES += client/libdmabufd.pc client/completion/dmabufctl
client/libdmabufd.pc: client/libdmabufd.pc.in Makefile
	$(AM_V_GEN)$(MKDIR_P) client && \
	sed -e 's|@prefix[@]|$(prefix)|g' -e 's|@libdir[@]|$(libdir)|g' \
		-e 's|@includedir[@]|$(includedir)|g' -e 's|@VERSION[@]|$(VERSION)|g' \
		$(top_srcdir)/client/libdmabufd.pc.in > $@.tmp && mv $@.tmp $@

# bash looks for a file with the name of the command.
bashcompletion_DATA = client/completion/dmabufctl
client/completion/dmabufctl: client/dmabufctl.bash-completion
	$(AM_V_GEN)$(MKDIR_P) client/completion && \
	cp $(top_srcdir)/client/dmabufctl.bash-completion $@

if HAVE_TESTS
check_PROGRAMS += tests/unit/test-arena
TESTS += tests/unit/test-arena
tests_unit_test_arena_SOURCES = tests/unit/test-arena.c \
	tests/unit/support.c tests/unit/support.h
tests_unit_test_arena_CPPFLAGS = $(AM_CPPFLAGS) $(CMOCKA_CFLAGS)
tests_unit_test_arena_LDADD = libclient.la $(CMOCKA_LIBS)

check_PROGRAMS += tests/unit/test-batch tests/unit/test-events tests/unit/test-inline
TESTS += tests/unit/test-batch tests/unit/test-events tests/unit/test-inline
tests_unit_test_batch_SOURCES = tests/unit/test-batch.c \
	tests/unit/support.c tests/unit/support.h
tests_unit_test_batch_CPPFLAGS = $(AM_CPPFLAGS) $(CMOCKA_CFLAGS)
tests_unit_test_batch_LDADD = libclient.la $(CMOCKA_LIBS)
tests_unit_test_events_SOURCES = tests/unit/test-events.c \
	tests/unit/fake-daemon.c tests/unit/fake-daemon.h
tests_unit_test_events_CPPFLAGS = $(AM_CPPFLAGS) $(CMOCKA_CFLAGS)
tests_unit_test_events_LDADD = libclient.la $(CMOCKA_LIBS)
tests_unit_test_inline_SOURCES = tests/unit/test-inline.c
tests_unit_test_inline_CPPFLAGS = $(AM_CPPFLAGS) $(CMOCKA_CFLAGS)
tests_unit_test_inline_LDADD = libclient.la $(CMOCKA_LIBS)

check_PROGRAMS += tests/unit/test-chunks tests/unit/test-client-pool \
	tests/unit/test-ctl-pool tests/unit/test-ctl-pool-map
TESTS += tests/unit/test-chunks tests/unit/test-client-pool \
	tests/unit/test-ctl-pool tests/unit/test-ctl-pool-map
tests_unit_test_chunks_SOURCES = tests/unit/test-chunks.c \
	tests/unit/chunk-stage.c tests/unit/chunk-stage.h \
	tests/unit/fake-daemon.c tests/unit/fake-daemon.h \
	tests/unit/support.c tests/unit/support.h
tests_unit_test_chunks_CPPFLAGS = $(AM_CPPFLAGS) $(CMOCKA_CFLAGS)
tests_unit_test_chunks_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=mmap64
tests_unit_test_chunks_LDADD = libclient.la $(CMOCKA_LIBS)
tests_unit_test_client_pool_SOURCES = tests/unit/test-client-pool.c \
	tests/unit/fake-daemon.c tests/unit/fake-daemon.h \
	tests/unit/support.c tests/unit/support.h
tests_unit_test_client_pool_CPPFLAGS = $(AM_CPPFLAGS) $(CMOCKA_CFLAGS)
tests_unit_test_client_pool_LDADD = libclient.la $(CMOCKA_LIBS)
tests_unit_test_ctl_pool_SOURCES = tests/unit/test-ctl-pool.c \
	client/ctl-hugepages.c client/ctl-output.c \
	client/ctl-pool.c client/ctl-pool-map.c client/ctl-pool-resize.c \
	tests/unit/fake-daemon.c tests/unit/fake-daemon.h
tests_unit_test_ctl_pool_CPPFLAGS = $(AM_CPPFLAGS) $(CMOCKA_CFLAGS) $(JANSSON_CFLAGS)
tests_unit_test_ctl_pool_LDADD = libclient.la $(CMOCKA_LIBS) $(JANSSON_LIBS)
tests_unit_test_ctl_pool_map_SOURCES = tests/unit/test-ctl-pool-map.c \
	client/ctl-output.c client/ctl-pool-map.c
tests_unit_test_ctl_pool_map_CPPFLAGS = $(AM_CPPFLAGS) $(CMOCKA_CFLAGS) $(JANSSON_CFLAGS)
tests_unit_test_ctl_pool_map_LDADD = $(CMOCKA_LIBS) $(JANSSON_LIBS)

check_PROGRAMS += tests/unit/test-heap tests/unit/test-heap-rules tests/unit/test-heap-threads
TESTS += tests/unit/test-heap tests/unit/test-heap-rules tests/unit/test-heap-threads
tests_unit_test_heap_SOURCES = tests/unit/test-heap.c \
	tests/unit/heap-source.c tests/unit/heap-source.h \
	tests/unit/support.c tests/unit/support.h tests/unit/cmocka-all.h
tests_unit_test_heap_CPPFLAGS = $(AM_CPPFLAGS) $(CMOCKA_CFLAGS)
tests_unit_test_heap_LDADD = libclient.la $(CMOCKA_LIBS)
tests_unit_test_heap_rules_SOURCES = tests/unit/test-heap-rules.c \
	tests/unit/heap-source.c tests/unit/heap-source.h \
	tests/unit/support.c tests/unit/support.h tests/unit/cmocka-all.h
tests_unit_test_heap_rules_CPPFLAGS = $(AM_CPPFLAGS) $(CMOCKA_CFLAGS)
tests_unit_test_heap_rules_LDADD = libclient.la $(CMOCKA_LIBS)
tests_unit_test_heap_threads_SOURCES = tests/unit/test-heap-threads.c \
	tests/unit/heap-source.c tests/unit/heap-source.h \
	tests/unit/support.c tests/unit/support.h tests/unit/cmocka-all.h
tests_unit_test_heap_threads_CPPFLAGS = $(AM_CPPFLAGS) $(CMOCKA_CFLAGS)
tests_unit_test_heap_threads_LDADD = libclient.la $(CMOCKA_LIBS)
endif
