# What every other folder may use and that itself uses nothing of the project.
noinst_LTLIBRARIES += libcommon.la
libcommon_la_SOURCES = \
	common/cleanup.h \
	common/clock.h \
	common/extents.c common/extents.h \
	common/fault.c common/fault.h \
	common/kernel-abi.h \
	common/memfd.c common/memfd.h \
	common/parse.c common/parse.h \
	common/pci.c common/pci.h \
	common/segments.c common/segments.h \
	common/slots.c common/slots.h \
	common/spans.c common/spans.h
