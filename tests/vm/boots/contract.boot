# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash disable=SC2034,SC2054,SC2154
description="what iommufd and VFIO do without an IOMMU, as the daemon relies on it"
# Two of them are above the hole for devices, and one of those is the 1 GiB huge page.
memory=4G
disks=1
devices=(
    -device edu,dma_mask=0xffffffffffff
    -device pcie-root-port,id=port0
    -drive "file=$work/disk0,if=none,id=disk0,format=raw"
    -device nvme,drive=disk0,serial=flr,bus=port0
)
# Two nodes, so that there is somewhere for a page to be moved to.
cmdline="numa=fake=2 hugepagesz=1G hugepages=1:1 hugepagesz=2M hugepages=32 default_hugepagesz=2M"
# contract-bind comes first: it looks at how devices become VFIO devices, and does it.
bind=0
noiommu=0
programs=(
    tests/vm/contract-bind
    tests/vm/contract-map
    tests/vm/contract-getpa
    tests/vm/contract-lifetime
    tests/vm/contract-device
    tests/vm/contract-memory
)
time_limit=120
