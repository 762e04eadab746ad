# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash disable=SC2034
description="devices that the daemon is named and cannot use, or not yet; the choice of a backend"
memory=1G
devices=(
    -device edu,addr=0x4
    -device edu,addr=0x5
)
needs=(dmabufd)
programs=(
    tests/vm/test-donor
    tests/integration/test-backends
)
time_limit=180
