# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash disable=SC2034
description="a device that reaches 256 MiB of 2 GiB, the lowest 300 MiB of which were taken before"
memory=2G
# The first lends its domain to the daemon, the second does the DMA with its mask of 28 bits.
devices=(
    -device edu,addr=0x4,dma_mask=0xffffffffffff
    -device edu,addr=0x5
)
environment=(
    DMABUFD_TEST_BACKEND=iommufd
    DMABUFD_TEST_DEVICE=0000:00:04.0
)
needs=(dmabufd)
programs=(
    tests/vm/test-lowmem
)
time_limit=300
