# Measuring; built only by name: make bench/dmabufd-bench. Run by scripts/bench.
EXTRA_PROGRAMS += bench/dmabufd-bench
bench_dmabufd_bench_SOURCES = \
	bench/bench.h \
	bench/chain.c bench/chain.h \
	bench/cold.c \
	bench/crowd.c bench/crowd.h \
	bench/forms.c \
	bench/main.c \
	bench/memory.c \
	bench/neighbour.c \
	bench/placement.c bench/placement.h \
	bench/report.c bench/report.h \
	bench/roundtrip.c \
	bench/samples.c bench/samples.h \
	bench/solo.c bench/solo.h \
	bench/table.c bench/table.h \
	bench/translate.c \
	client/arena.c
bench_dmabufd_bench_CPPFLAGS = $(AM_CPPFLAGS) $(JANSSON_CFLAGS)
bench_dmabufd_bench_LDADD = libdmabufd.la libcommon.la $(JANSSON_LIBS)
EXTRA_DIST += scripts/bench
CLEANFILES += bench/dmabufd-bench
