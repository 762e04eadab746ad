# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash disable=SC2034
description="the installed service under systemd: socket, sandbox, journal, restart"
system=1
memory=2G
devices=(-device edu,addr=0x4)
cmdline="hugepagesz=2M hugepages=32"
programs=(tests/vm/test-service.sh)
time_limit=180
