# Programs to read; built with everything so that they stay true.
noinst_PROGRAMS += examples/first examples/ring
examples_first_SOURCES = examples/first.c
examples_first_LDADD = libdmabufd.la
examples_ring_SOURCES = examples/ring.c
examples_ring_LDADD = libdmabufd.la
# Built by scripts/check, since nothing else here needs a C++ compiler.
EXTRA_DIST += examples/first.cc
