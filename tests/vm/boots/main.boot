# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash disable=SC2034
description="the daemon on iommufd: true addresses, a device that writes to them, nothing left behind"
memory=4G
# The first lends its domain to the daemon, the others do the DMA.
devices=()
for slot in 4 5 6 7 8 9 a b c; do
    devices+=(-device "edu,addr=0x$slot,dma_mask=0xffffffffffff")
done
cmdline="hugepagesz=1G hugepages=1 default_hugepagesz=2M hugepagesz=2M hugepages=160"
environment=(
    DMABUFD_TEST_BACKEND=iommufd
    DMABUFD_TEST_DEVICE=0000:00:04.0
    DMABUFD_TEST_RUNS=1
    "DMABUFD_TEST_KILLS=${DMABUFD_TEST_KILLS:-1000}"
    ${DMABUFD_TEST_SEED:+"DMABUFD_TEST_SEED=$DMABUFD_TEST_SEED"}
)
needs=(dmabufd)
programs=(
    tests/vm/test-dma
    tests/integration/test-addresses
    tests/vm/test-inode-number
    tests/integration/test-sharing
    tests/integration/test-names
    tests/integration/test-ring
    tests/integration/test-kept
)
time_limit=400
