# Fuzzing targets as ordinary check programs: random inputs, always the same ones. With libFuzzer
# they are built by tests/fuzz/run.
EXTRA_DIST += tests/fuzz/run

fuzz_programs = tests/fuzz/fuzz-link tests/fuzz/fuzz-message
check_PROGRAMS += $(fuzz_programs)
TESTS += $(fuzz_programs)

fuzz_common = tests/fuzz/fuzz.h tests/fuzz/standalone.c
fuzz_cppflags = $(AM_CPPFLAGS) $(EVENT_CFLAGS)

tests_fuzz_fuzz_link_SOURCES = tests/fuzz/fuzz-link.c $(fuzz_common)
tests_fuzz_fuzz_link_CPPFLAGS = $(fuzz_cppflags)
tests_fuzz_fuzz_link_LDADD = libunit.la

tests_fuzz_fuzz_message_SOURCES = tests/fuzz/fuzz-message.c $(fuzz_common)
tests_fuzz_fuzz_message_CPPFLAGS = $(fuzz_cppflags)
tests_fuzz_fuzz_message_LDADD = libunit.la
