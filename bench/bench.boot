# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash disable=SC2034
# Not a test, so not in tests/vm/boots: scripts/bench boots it. See bench/in-guest.
description="what the benchmark counts in a virtual machine: iommufd's calls, and memory of a crowd"
# 100,000 buffers of 4 KiB with all that the kernel keeps for each; 1 GiB in huge pages.
memory=4G
devices=(-device edu,addr=0x4,dma_mask=0xffffffffffff)
cmdline="default_hugepagesz=2M hugepagesz=2M hugepages=520"
environment=("DMABUFD_BENCH_ROWS=${DMABUFD_BENCH_ROWS:-*}" "DMABUFD_BENCH_QUICK=${DMABUFD_BENCH_QUICK:-}")
needs=(dmabufd dmabufctl bench/dmabufd-bench)
programs=(bench/in-guest)
time_limit=1200
