# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash disable=SC2034
description="the installed tools and the service under systemd: devices, socket, sandbox, journal, restart"
system=1
memory=2G
devices=(-device edu,addr=0x4)
cmdline="hugepagesz=2M hugepages=32"
# The first binds the device for the second.
bind=0
noiommu=0
programs=(
    tests/vm/test-device.sh
    tests/vm/test-service.sh
)
time_limit=240
