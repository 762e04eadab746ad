# The contract, and its one implementation for both sides.
noinst_LTLIBRARIES += libproto.la
libproto_la_SOURCES = \
	proto/limits.h \
	proto/message.c proto/message.h \
	proto/spantable.c proto/spantable.h \
	proto/wire.c proto/wire.h
libproto_la_LIBADD = libprotogen.la libcommon.la $(PROTOBUF_C_LIBS)

# Generated code is compiled without our warnings.
noinst_LTLIBRARIES += libprotogen.la
nodist_libprotogen_la_SOURCES = proto/dmabufd.pb-c.c proto/dmabufd.pb-c.h
libprotogen_la_CFLAGS = -fvisibility=hidden -fstack-protector-strong $(SANITIZER_FLAGS)

EXTRA_DIST += proto/dmabufd.proto
BUILT_SOURCES += proto/dmabufd.pb-c.h
CLEANFILES += proto/dmabufd.pb-c.c proto/dmabufd.pb-c.h

proto/dmabufd.pb-c.c: proto/dmabufd.proto
	$(AM_V_GEN)$(MKDIR_P) proto && \
	$(PROTOC_C) --proto_path=$(top_srcdir)/proto --c_out=proto $(top_srcdir)/proto/dmabufd.proto
proto/dmabufd.pb-c.h: proto/dmabufd.pb-c.c
	@test -f $@ || { rm -f $< && $(MAKE) $(AM_MAKEFLAGS) $<; }
