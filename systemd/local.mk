# Units and the users they need.
systemdsystemunit_DATA = systemd/dmabufd.service
dist_systemdsystemunit_DATA = systemd/dmabufd.socket
dist_sysusers_DATA += systemd/dmabufd.conf
EXTRA_DIST += systemd/dmabufd.service.in
CLEANFILES += systemd/dmabufd.service

# sbindir is only known to make.
systemd/dmabufd.service: systemd/dmabufd.service.in Makefile
	$(AM_V_GEN)$(MKDIR_P) systemd && \
	sed -e 's|@sbindir[@]|$(sbindir)|g' $(top_srcdir)/systemd/dmabufd.service.in > $@.tmp && \
	mv $@.tmp $@
