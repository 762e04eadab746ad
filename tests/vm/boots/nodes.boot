# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash disable=SC2034
description="two NUMA nodes of 1 GiB: memory on the one that was asked for"
memory=2G
devices=(
    -device edu,addr=0x4,dma_mask=0xffffffffffff
)
cmdline="numa=fake=2 hugepagesz=2M default_hugepagesz=2M hugepages=0:64,1:40"
environment=(
    DMABUFD_TEST_BACKEND=iommufd
    DMABUFD_TEST_DEVICE=0000:00:04.0
    DMABUFD_TEST_RUNS=1
)
needs=(dmabufd)
programs=(
    tests/vm/test-two-nodes
    tests/integration/test-constraints
)
time_limit=200
