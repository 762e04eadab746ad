# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash disable=SC2034
description="the daemon on pagemap, where huge pages lie in long runs and nobody else pins"
memory=4G
cmdline="hugepagesz=1G hugepages=1 default_hugepagesz=2M hugepagesz=2M hugepages=160"
noiommu=0
bind=0
environment=(
    DMABUFD_TEST_BACKEND=pagemap
    DMABUFD_TEST_RUNS=1
    "DMABUFD_TEST_KILLS=${DMABUFD_TEST_KILLS:-100}"
)
needs=(dmabufd)
programs=(
    tests/integration/test-constraints
    tests/integration/test-addresses
    tests/integration/test-register
    tests/integration/test-assembled
    tests/integration/test-pool
    tests/integration/test-buffers
)
time_limit=200
