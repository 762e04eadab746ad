# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash disable=SC2034,SC2054,SC2154
description="the same calls behind an IOMMU, where the daemon refuses to serve"
machine=q35,kernel-irqchip=off
memory=512M
devices=(
    -device intel-iommu
    -device edu
    -device pxb-pcie,id=aside,bus_nr=0x80,bypass_iommu=on
    -device pcie-root-port,id=port0,bus=aside,chassis=1
    -device edu,bus=port0
)
# The second edu is bound by the test that is about it: the kernel is tainted then.
bind=0
cmdline="intel_iommu=on iommufd.allow_unsafe_interrupts=1"
needs=(dmabufd)
# In this order: a device that the second one binds would be named by the daemon.
programs=(tests/vm/test-behind-iommu tests/vm/contract-iommu)
time_limit=60
# One test lets the device write where nothing is mapped any more.
allowed=('DMAR: DRHD: handling fault status reg' 'DMAR: \[DMA Write')
