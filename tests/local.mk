# Tests that run on the build machine; those for the virtual machine are in tests/vm.
AM_TESTS_ENVIRONMENT = CMOCKA_MESSAGE_OUTPUT=TAP; export CMOCKA_MESSAGE_OUTPUT; \
	DMABUFD_BUILD_DIR='$(abs_top_builddir)'; export DMABUFD_BUILD_DIR;
TEST_EXTENSIONS = .sh
# The one in C++ is built by scripts/check.
EXTRA_DIST += tests/tap tests/installed/everything.cc
LOG_COMPILER = $(top_srcdir)/tests/tap
LOG_DRIVER = env AM_TAP_AWK='$(AWK)' $(SHELL) $(top_srcdir)/build-aux/tap-driver.sh
SH_LOG_COMPILER = $(LOG_COMPILER)
SH_LOG_DRIVER = $(LOG_DRIVER)
CLEANFILES += tests/lock

include tests/unit/local.mk
include tests/fuzz/local.mk
include tests/integration/local.mk
