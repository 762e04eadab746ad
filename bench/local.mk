# Measuring; built only by name: make bench-programs. Run by scripts/bench.
EXTRA_PROGRAMS += bench/dmabufd-bench
bench_dmabufd_bench_SOURCES = \
	bench/bench.c bench/bench.h \
	bench/chain.c bench/chain.h \
	bench/cold.c \
	bench/crew.c bench/crew.h \
	bench/crowd.c bench/crowd.h \
	bench/forms.c \
	bench/getpa.c \
	bench/handout.c bench/handout.h \
	bench/heap.c \
	bench/main.c \
	bench/memory.c \
	bench/neighbour.c \
	bench/peer.c bench/peer.h \
	bench/placement.c bench/placement.h \
	bench/plot.c \
	bench/pool.c \
	bench/refill.c \
	bench/report-json.c \
	bench/report.c bench/report.h \
	bench/resolve.c \
	bench/restart.c \
	bench/roundtrip.c \
	bench/samples.c bench/samples.h \
	bench/solo.c bench/solo.h \
	bench/stack.c bench/stack.h \
	bench/stock.c bench/stock.h \
	bench/table.c bench/table.h \
	bench/tracer.c bench/tracer.h \
	bench/translate.c \
	bench/walk.c bench/walk.h \
	client/arena.c
bench_dmabufd_bench_CPPFLAGS = $(AM_CPPFLAGS) $(JANSSON_CFLAGS)
bench_dmabufd_bench_LDADD = libdmabufd.la libdaemon.la libcommon.la $(JANSSON_LIBS)

# The peer: what makes it another program is that DPDK takes over the one it is in.
EXTRA_PROGRAMS += bench/dmabufd-bench-dpdk
bench_dmabufd_bench_dpdk_SOURCES = \
	bench/crew.c bench/crew.h \
	bench/dpdk-heap.c \
	bench/dpdk-memory.c \
	bench/dpdk.c bench/dpdk.h \
	bench/peer.h \
	bench/samples.c bench/samples.h \
	bench/walk.c bench/walk.h
bench_dmabufd_bench_dpdk_CPPFLAGS = $(AM_CPPFLAGS) $(DPDK_CFLAGS)
bench_dmabufd_bench_dpdk_LDADD = $(DPDK_LIBS)

# The floor of a restart.
EXTRA_PROGRAMS += bench/dmabufd-bench-answer
bench_dmabufd_bench_answer_SOURCES = bench/answer.c

bench_programs = bench/dmabufd-bench bench/dmabufd-bench-answer
if HAVE_DPDK
bench_programs += bench/dmabufd-bench-dpdk
endif
bench-programs: $(bench_programs)
.PHONY: bench-programs

EXTRA_DIST += bench/in-guest bench/bench.boot scripts/bench
CLEANFILES += bench/dmabufd-bench bench/dmabufd-bench-answer bench/dmabufd-bench-dpdk
