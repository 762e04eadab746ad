# One program for each noun, linked with the objects of the daemon. test-arena.c is in
# client/local.mk, with the library that it tests.
check_LTLIBRARIES += libunit.la
libunit_la_SOURCES = \
	tests/integration/raw.c tests/integration/raw.h \
	tests/unit/broker-rig.c tests/unit/broker-rig.h \
	tests/unit/channel-end.c tests/unit/channel-end.h \
	tests/unit/cmocka-all.h \
	tests/unit/getpa.c tests/unit/getpa.h \
	tests/unit/hugepages.c tests/unit/hugepages.h \
	tests/unit/mock-backend.c tests/unit/mock-backend.h \
	tests/unit/rig.c tests/unit/rig.h \
	tests/unit/samples.c tests/unit/samples.h \
	tests/unit/shelf.c tests/unit/shelf.h \
	tests/unit/stock.c tests/unit/stock.h \
	tests/unit/support.c tests/unit/support.h
libunit_la_CPPFLAGS = $(AM_CPPFLAGS) $(CMOCKA_CFLAGS) $(EVENT_CFLAGS)
libunit_la_LIBADD = libdaemon.la

unit_cppflags = $(AM_CPPFLAGS) $(CMOCKA_CFLAGS) $(EVENT_CFLAGS) $(SYSTEMD_CFLAGS)
unit_ldadd = libunit.la $(CMOCKA_LIBS)

unit_programs = \
	tests/unit/test-arrange \
	tests/unit/test-backoff \
	tests/unit/test-buffer \
	tests/unit/test-buffer-kept \
	tests/unit/test-channel \
	tests/unit/test-channel-closed \
	tests/unit/test-channel-inflight \
	tests/unit/test-choice \
	tests/unit/test-choice-random \
	tests/unit/test-closer \
	tests/unit/test-extents \
	tests/unit/test-fake \
	tests/unit/test-fault \
	tests/unit/test-identity \
	tests/unit/test-given-up \
	tests/unit/test-grant \
	tests/unit/test-heartbeat \
	tests/unit/test-iommufd \
	tests/unit/test-job \
	tests/unit/test-kernel-abi \
	tests/unit/test-memfd \
	tests/unit/test-memory \
	tests/unit/test-memory-foreign \
	tests/unit/test-message-reply \
	tests/unit/test-message-request \
	tests/unit/test-names \
	tests/unit/test-nodes \
	tests/unit/test-offenders \
	tests/unit/test-parse \
	tests/unit/test-pci \
	tests/unit/test-pool \
	tests/unit/test-quota \
	tests/unit/test-progress \
	tests/unit/test-refill \
	tests/unit/test-resolve \
	tests/unit/test-resolve-random \
	tests/unit/test-search \
	tests/unit/test-search-build \
	tests/unit/test-segments \
	tests/unit/test-service \
	tests/unit/test-service-ends \
	tests/unit/test-service-hostile \
	tests/unit/test-session \
	tests/unit/test-service-list \
	tests/unit/test-sharing \
	tests/unit/test-sift \
	tests/unit/test-slots \
	tests/unit/test-spans \
	tests/unit/test-spantable \
	tests/unit/test-store \
	tests/unit/test-store-find \
	tests/unit/test-upstream \
	tests/unit/test-upstream-pool \
	tests/unit/test-watch \
	tests/unit/test-store-limits \
	tests/unit/test-turns \
	tests/unit/test-wire
check_PROGRAMS += $(unit_programs)
TESTS += $(unit_programs)

tests_unit_test_backoff_SOURCES = tests/unit/test-backoff.c
tests_unit_test_backoff_CPPFLAGS = $(unit_cppflags)
tests_unit_test_backoff_LDADD = $(unit_ldadd)

tests_unit_test_buffer_SOURCES = tests/unit/test-buffer.c
tests_unit_test_buffer_CPPFLAGS = $(unit_cppflags)
tests_unit_test_buffer_LDADD = $(unit_ldadd)

tests_unit_test_buffer_kept_SOURCES = tests/unit/test-buffer-kept.c
tests_unit_test_buffer_kept_CPPFLAGS = $(unit_cppflags)
tests_unit_test_buffer_kept_LDADD = $(unit_ldadd)

tests_unit_test_channel_SOURCES = tests/unit/test-channel.c
tests_unit_test_channel_CPPFLAGS = $(unit_cppflags)
tests_unit_test_channel_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=ioctl
tests_unit_test_channel_LDADD = $(unit_ldadd)

tests_unit_test_channel_closed_SOURCES = tests/unit/test-channel-closed.c
tests_unit_test_channel_closed_CPPFLAGS = $(unit_cppflags)
tests_unit_test_channel_closed_LDADD = $(unit_ldadd)

tests_unit_test_channel_inflight_SOURCES = tests/unit/test-channel-inflight.c
tests_unit_test_channel_inflight_CPPFLAGS = $(unit_cppflags)
tests_unit_test_channel_inflight_LDADD = $(unit_ldadd)

tests_unit_test_choice_SOURCES = tests/unit/test-choice.c
tests_unit_test_choice_CPPFLAGS = $(unit_cppflags)
tests_unit_test_choice_LDADD = $(unit_ldadd)

tests_unit_test_choice_random_SOURCES = tests/unit/test-choice-random.c
tests_unit_test_choice_random_CPPFLAGS = $(unit_cppflags)
tests_unit_test_choice_random_LDADD = $(unit_ldadd)

tests_unit_test_closer_SOURCES = tests/unit/test-closer.c
tests_unit_test_closer_CPPFLAGS = $(unit_cppflags)
tests_unit_test_closer_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=close
tests_unit_test_closer_LDADD = $(unit_ldadd)

tests_unit_test_extents_SOURCES = tests/unit/test-extents.c
tests_unit_test_extents_CPPFLAGS = $(unit_cppflags)
tests_unit_test_extents_LDADD = $(unit_ldadd)

tests_unit_test_fake_SOURCES = tests/unit/test-fake.c
tests_unit_test_fake_CPPFLAGS = $(unit_cppflags)
tests_unit_test_fake_LDADD = $(unit_ldadd)

tests_unit_test_fault_SOURCES = tests/unit/test-fault.c
tests_unit_test_fault_CPPFLAGS = $(unit_cppflags)
tests_unit_test_fault_LDADD = $(unit_ldadd)

tests_unit_test_identity_SOURCES = tests/unit/test-identity.c
tests_unit_test_identity_CPPFLAGS = $(unit_cppflags)
tests_unit_test_identity_LDADD = $(unit_ldadd)

# What a host has of huge pages is pretended (pool-rig.h).
pool_rig = tests/unit/pool-rig.c tests/unit/pool-rig.h
pool_rig_ldflags = -Wl,--wrap=memory_prepare,--wrap=memory_huge_free

tests_unit_test_given_up_SOURCES = tests/unit/test-given-up.c $(pool_rig)
tests_unit_test_given_up_CPPFLAGS = $(unit_cppflags)
tests_unit_test_given_up_LDFLAGS = $(AM_LDFLAGS) $(pool_rig_ldflags)
tests_unit_test_given_up_LDADD = $(unit_ldadd)

tests_unit_test_grant_SOURCES = tests/unit/test-grant.c $(pool_rig)
tests_unit_test_grant_CPPFLAGS = $(unit_cppflags)
tests_unit_test_grant_LDFLAGS = $(AM_LDFLAGS) $(pool_rig_ldflags)
tests_unit_test_grant_LDADD = $(unit_ldadd)

tests_unit_test_heartbeat_SOURCES = tests/unit/test-heartbeat.c
tests_unit_test_heartbeat_CPPFLAGS = $(unit_cppflags)
tests_unit_test_heartbeat_LDADD = $(unit_ldadd)

tests_unit_test_iommufd_SOURCES = tests/unit/test-iommufd.c \
	tests/unit/iommu-kernel.c tests/unit/iommu-kernel.h
tests_unit_test_iommufd_CPPFLAGS = $(unit_cppflags)
tests_unit_test_iommufd_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=ioctl,--wrap=open64 \
	-Wl,--wrap=pfn_open,--wrap=pfn_resolve
tests_unit_test_iommufd_LDADD = $(unit_ldadd)

tests_unit_test_job_SOURCES = tests/unit/test-job.c
tests_unit_test_job_CPPFLAGS = $(unit_cppflags)
tests_unit_test_job_LDADD = $(unit_ldadd)

tests_unit_test_kernel_abi_SOURCES = tests/unit/test-kernel-abi.c
tests_unit_test_kernel_abi_CPPFLAGS = $(unit_cppflags)
tests_unit_test_kernel_abi_LDADD = $(CMOCKA_LIBS)

tests_unit_test_memfd_SOURCES = tests/unit/test-memfd.c
tests_unit_test_memfd_CPPFLAGS = $(unit_cppflags)
tests_unit_test_memfd_LDADD = $(unit_ldadd)

tests_unit_test_memory_SOURCES = tests/unit/test-memory.c
tests_unit_test_memory_CPPFLAGS = $(unit_cppflags)
tests_unit_test_memory_LDADD = $(unit_ldadd)

tests_unit_test_memory_foreign_SOURCES = tests/unit/test-memory-foreign.c
tests_unit_test_memory_foreign_CPPFLAGS = $(unit_cppflags)
tests_unit_test_memory_foreign_LDADD = $(unit_ldadd)

tests_unit_test_message_reply_SOURCES = tests/unit/test-message-reply.c \
	tests/unit/exact.c tests/unit/exact.h
tests_unit_test_message_reply_CPPFLAGS = $(unit_cppflags)
tests_unit_test_message_reply_LDADD = $(unit_ldadd)

tests_unit_test_message_request_SOURCES = tests/unit/test-message-request.c \
	tests/unit/exact.c tests/unit/exact.h
tests_unit_test_message_request_CPPFLAGS = $(unit_cppflags)
tests_unit_test_message_request_LDADD = $(unit_ldadd)

tests_unit_test_names_SOURCES = tests/unit/test-names.c
tests_unit_test_names_CPPFLAGS = $(unit_cppflags)
tests_unit_test_names_LDADD = $(unit_ldadd)

tests_unit_test_nodes_SOURCES = tests/unit/test-nodes.c
tests_unit_test_nodes_CPPFLAGS = $(unit_cppflags)
tests_unit_test_nodes_LDADD = $(unit_ldadd)

tests_unit_test_offenders_SOURCES = tests/unit/test-offenders.c
tests_unit_test_offenders_CPPFLAGS = $(unit_cppflags)
tests_unit_test_offenders_LDADD = $(unit_ldadd)

tests_unit_test_parse_SOURCES = tests/unit/test-parse.c
tests_unit_test_parse_CPPFLAGS = $(unit_cppflags)
tests_unit_test_parse_LDADD = $(unit_ldadd)

tests_unit_test_pci_SOURCES = tests/unit/test-pci.c \
	client/binding.c client/binding.h client/usage.c client/usage.h
tests_unit_test_pci_CPPFLAGS = $(unit_cppflags)
tests_unit_test_pci_LDADD = $(unit_ldadd)

tests_unit_test_pool_SOURCES = tests/unit/test-pool.c
tests_unit_test_pool_CPPFLAGS = $(unit_cppflags)
tests_unit_test_pool_LDADD = $(unit_ldadd)

tests_unit_test_quota_SOURCES = tests/unit/test-quota.c
tests_unit_test_quota_CPPFLAGS = $(unit_cppflags)
tests_unit_test_quota_LDADD = $(unit_ldadd)

tests_unit_test_progress_SOURCES = tests/unit/test-progress.c
tests_unit_test_progress_CPPFLAGS = $(unit_cppflags)
tests_unit_test_progress_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=fallocate64
tests_unit_test_progress_LDADD = $(unit_ldadd)

tests_unit_test_refill_SOURCES = tests/unit/test-refill.c $(pool_rig)
tests_unit_test_refill_CPPFLAGS = $(unit_cppflags)
tests_unit_test_refill_LDFLAGS = $(AM_LDFLAGS) $(pool_rig_ldflags)
tests_unit_test_refill_LDADD = $(unit_ldadd)

tests_unit_test_resolve_SOURCES = tests/unit/test-resolve.c
tests_unit_test_resolve_CPPFLAGS = $(unit_cppflags)
tests_unit_test_resolve_LDADD = $(unit_ldadd)

tests_unit_test_resolve_random_SOURCES = tests/unit/test-resolve-random.c
tests_unit_test_resolve_random_CPPFLAGS = $(unit_cppflags)
tests_unit_test_resolve_random_LDADD = $(unit_ldadd)

tests_unit_test_service_SOURCES = tests/unit/test-service.c
tests_unit_test_service_CPPFLAGS = $(unit_cppflags)
tests_unit_test_service_LDADD = $(unit_ldadd)

tests_unit_test_service_ends_SOURCES = tests/unit/test-service-ends.c
tests_unit_test_service_ends_CPPFLAGS = $(unit_cppflags)
tests_unit_test_service_ends_LDADD = $(unit_ldadd)

tests_unit_test_service_hostile_SOURCES = tests/unit/test-service-hostile.c
tests_unit_test_service_hostile_CPPFLAGS = $(unit_cppflags)
tests_unit_test_service_hostile_LDADD = $(unit_ldadd)

tests_unit_test_session_SOURCES = tests/unit/test-session.c
tests_unit_test_session_CPPFLAGS = $(unit_cppflags)
tests_unit_test_session_LDADD = $(unit_ldadd)

tests_unit_test_service_list_SOURCES = tests/unit/test-service-list.c
tests_unit_test_service_list_CPPFLAGS = $(unit_cppflags)
tests_unit_test_service_list_LDADD = $(unit_ldadd)

tests_unit_test_sharing_SOURCES = tests/unit/test-sharing.c
tests_unit_test_sharing_CPPFLAGS = $(unit_cppflags)
tests_unit_test_sharing_LDADD = $(unit_ldadd)

tests_unit_test_sift_SOURCES = tests/unit/test-sift.c
tests_unit_test_sift_CPPFLAGS = $(unit_cppflags)
tests_unit_test_sift_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=memory_empty,--wrap=memory_populate
tests_unit_test_sift_LDADD = $(unit_ldadd)

tests_unit_test_slots_SOURCES = tests/unit/test-slots.c
tests_unit_test_slots_CPPFLAGS = $(unit_cppflags)
tests_unit_test_slots_LDADD = $(unit_ldadd)

tests_unit_test_spans_SOURCES = tests/unit/test-spans.c
tests_unit_test_spans_CPPFLAGS = $(unit_cppflags)
tests_unit_test_spans_LDADD = $(unit_ldadd)

tests_unit_test_spantable_SOURCES = tests/unit/test-spantable.c
tests_unit_test_spantable_CPPFLAGS = $(unit_cppflags)
tests_unit_test_spantable_LDADD = $(unit_ldadd)

tests_unit_test_store_SOURCES = tests/unit/test-store.c
tests_unit_test_store_CPPFLAGS = $(unit_cppflags)
tests_unit_test_store_LDADD = $(unit_ldadd)

tests_unit_test_store_find_SOURCES = tests/unit/test-store-find.c
tests_unit_test_store_find_CPPFLAGS = $(unit_cppflags)
tests_unit_test_store_find_LDADD = $(unit_ldadd)

tests_unit_test_upstream_SOURCES = tests/unit/test-upstream.c
tests_unit_test_upstream_CPPFLAGS = $(unit_cppflags)
tests_unit_test_upstream_LDADD = $(unit_ldadd)

tests_unit_test_upstream_pool_SOURCES = tests/unit/test-upstream-pool.c
tests_unit_test_upstream_pool_CPPFLAGS = $(unit_cppflags)
tests_unit_test_upstream_pool_LDADD = $(unit_ldadd)

tests_unit_test_watch_SOURCES = tests/unit/test-watch.c
tests_unit_test_watch_CPPFLAGS = $(unit_cppflags)
tests_unit_test_watch_LDADD = $(unit_ldadd)

tests_unit_test_store_limits_SOURCES = tests/unit/test-store-limits.c
tests_unit_test_store_limits_CPPFLAGS = $(unit_cppflags)
tests_unit_test_store_limits_LDADD = $(unit_ldadd)

tests_unit_test_turns_SOURCES = tests/unit/test-turns.c
tests_unit_test_turns_CPPFLAGS = $(unit_cppflags)
tests_unit_test_turns_LDADD = $(unit_ldadd)

tests_unit_test_wire_SOURCES = tests/unit/test-wire.c
tests_unit_test_wire_CPPFLAGS = $(unit_cppflags)
tests_unit_test_wire_LDADD = $(unit_ldadd)

tests_unit_test_arrange_SOURCES = tests/unit/test-arrange.c
tests_unit_test_arrange_CPPFLAGS = $(unit_cppflags)
tests_unit_test_arrange_LDADD = $(unit_ldadd)

hugemodel_sources = tests/unit/hugemodel.c tests/unit/hugemodel.h
hugemodel_ldflags = -Wl,--wrap=memory_create,--wrap=memory_prepare,--wrap=memory_empty \
	-Wl,--wrap=memory_huge_free,--wrap=buffer_discard

tests_unit_test_search_SOURCES = tests/unit/test-search.c $(hugemodel_sources)
tests_unit_test_search_CPPFLAGS = $(unit_cppflags)
tests_unit_test_search_LDFLAGS = $(AM_LDFLAGS) $(hugemodel_ldflags)
tests_unit_test_search_LDADD = $(unit_ldadd)

tests_unit_test_search_build_SOURCES = tests/unit/test-search-build.c $(hugemodel_sources)
tests_unit_test_search_build_CPPFLAGS = $(unit_cppflags)
tests_unit_test_search_build_LDFLAGS = $(AM_LDFLAGS) $(hugemodel_ldflags)
tests_unit_test_search_build_LDADD = $(unit_ldadd)

tests_unit_test_segments_SOURCES = tests/unit/test-segments.c
tests_unit_test_segments_CPPFLAGS = $(unit_cppflags)
tests_unit_test_segments_LDADD = $(unit_ldadd)
