# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash disable=SC2034,SC2054
description="the daemon on iommufd: what clients ask for, and what is left when a client or a broker dies"
memory=4G
devices=(
    -device edu,addr=0x4,dma_mask=0xffffffffffff
)
cmdline="hugepagesz=1G hugepages=1 default_hugepagesz=2M hugepagesz=2M hugepages=160"
environment=(
    DMABUFD_TEST_BACKEND=iommufd
    DMABUFD_TEST_DEVICE=0000:00:04.0
    DMABUFD_TEST_RUNS=1
)
needs=(dmabufd)
programs=(
    tests/integration/test-broker
    tests/integration/test-buffers
    tests/integration/test-constraints
    tests/integration/test-assembled
    tests/integration/test-pool
    tests/integration/test-nodes
    tests/integration/test-register
    tests/integration/test-quota
    tests/integration/test-heap
    tests/integration/test-events
    tests/integration/test-threads
)
time_limit=300
