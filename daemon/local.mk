# The daemon: everything but main.c is a library, which tests and fuzzers link too.
noinst_LTLIBRARIES += libdaemon.la
libdaemon_la_SOURCES = \
	daemon/channel.c daemon/channel.h \
	daemon/closer.c daemon/closer.h \
	daemon/link.h \
	daemon/loop.c daemon/loop.h \
	daemon/listen.c daemon/listen.h \
	daemon/log.c daemon/log.h \
	daemon/options.c daemon/options.h \
	daemon/presented.c daemon/presented.h \
	daemon/privilege.c daemon/privilege.h \
	daemon/broker/broker.c daemon/broker/broker.h \
	daemon/broker/dispatch.c daemon/broker/dispatch.h \
	daemon/broker/offenders.c daemon/broker/offenders.h \
	daemon/broker/reply.c daemon/broker/reply.h \
	daemon/broker/request.c daemon/broker/request.h \
	daemon/broker/session.c daemon/broker/session.h \
	daemon/broker/upstream.c daemon/broker/upstream.h \
	daemon/keeper/allocation.c daemon/keeper/allocation.h \
	daemon/keeper/answer.c daemon/keeper/answer.h \
	daemon/keeper/arrange.c daemon/keeper/arrange.h \
	daemon/keeper/backend.c daemon/keeper/backend.h \
	daemon/keeper/backoff.c daemon/keeper/backoff.h \
	daemon/keeper/buffer.c daemon/keeper/buffer.h \
	daemon/keeper/build.c daemon/keeper/build.h \
	daemon/keeper/choice.c daemon/keeper/choice.h \
	daemon/keeper/donor.c daemon/keeper/donor.h \
	daemon/keeper/effort.c daemon/keeper/effort.h \
	daemon/keeper/fake.c \
	daemon/keeper/grant.c daemon/keeper/grant.h \
	daemon/keeper/identity.c daemon/keeper/identity.h \
	daemon/keeper/heartbeat.c daemon/keeper/heartbeat.h \
	daemon/keeper/iommu-ioctl.c daemon/keeper/iommu-ioctl.h \
	daemon/keeper/iommufd.c \
	daemon/keeper/job.c daemon/keeper/job.h \
	daemon/keeper/keeper.c daemon/keeper/keeper.h \
	daemon/keeper/memory.c daemon/keeper/memory.h \
	daemon/keeper/names.c daemon/keeper/names.h \
	daemon/keeper/nodes.c daemon/keeper/nodes.h \
	daemon/keeper/pagemap.c \
	daemon/keeper/pages.h \
	daemon/keeper/pfn.c daemon/keeper/pfn.h \
	daemon/keeper/pinring.c daemon/keeper/pinring.h \
	daemon/keeper/pool.c daemon/keeper/pool.h \
	daemon/keeper/pooling.c daemon/keeper/pooling.h \
	daemon/keeper/progress.c daemon/keeper/progress.h \
	daemon/keeper/quota.c daemon/keeper/quota.h \
	daemon/keeper/refill.c daemon/keeper/refill.h \
	daemon/keeper/release.c daemon/keeper/release.h \
	daemon/keeper/resolve.c daemon/keeper/resolve.h \
	daemon/keeper/search.c daemon/keeper/search.h \
	daemon/keeper/service.c daemon/keeper/service.h \
	daemon/keeper/sharing.c daemon/keeper/sharing.h \
	daemon/keeper/sift.c daemon/keeper/sift.h \
	daemon/keeper/store.c daemon/keeper/store.h \
	daemon/keeper/supervisor.c daemon/keeper/supervisor.h \
	daemon/keeper/watch.c daemon/keeper/watch.h \
	daemon/keeper/turns.c daemon/keeper/turns.h \
	daemon/keeper/zones.c daemon/keeper/zones.h
libdaemon_la_CPPFLAGS = $(AM_CPPFLAGS) $(EVENT_CFLAGS) $(SYSTEMD_CFLAGS)
libdaemon_la_LIBADD = libproto.la libcommon.la $(EVENT_LIBS) $(SYSTEMD_LIBS)

sbin_PROGRAMS += dmabufd
dmabufd_SOURCES = daemon/main.c
dmabufd_CPPFLAGS = $(libdaemon_la_CPPFLAGS)
dmabufd_LDADD = libdaemon.la
