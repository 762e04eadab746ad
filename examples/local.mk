# Programs to read; built with everything so that they stay true.
noinst_PROGRAMS += examples/first
examples_first_SOURCES = examples/first.c
examples_first_LDADD = libdmabufd.la
