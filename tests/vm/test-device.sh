#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# dmabufctl device on a host with devices that are free, in use, or no devices at all but bridges: what
# it shows, what it refuses, and what the kernel then says. TAP on stdout; runs in the guest, as root,
# and leaves the edu device bound to vfio-pci.
#
# How sysfs is read is tested on made-up trees, in tests/unit/test-pci.c.
set -u

work=$(mktemp -d)
edu=0000:00:04.0
number=0
holder=

finish() {
    [ -z "$holder" ] || kill "$holder"
    rm -rf "$work"
    echo "1..$number"
}
trap finish EXIT

# NAME COMMAND...
check() {
    local name=$1
    shift
    number=$((number + 1))
    : >"$work/out"
    if "$@" >"$work/check" 2>&1; then
        echo "ok $number - $name"
        return
    fi
    echo "not ok $number - $name"
    cat "$work/check" "$work/out" | sed 's/^/# /'
}

device() { dmabufctl device "$@" >"$work/out" 2>&1; }
says() { grep -qE "$1" "$work/out"; }
# PATTERN ARGUMENT...: refused with these words, and no driver has changed.
refuses() {
    local pattern=$1 before after
    shift
    before=$(drivers)
    device "$@" && return 1
    after=$(drivers)
    says "$pattern" && [ "$before" = "$after" ]
}
drivers() { readlink /sys/bus/pci/devices/*/driver /sys/bus/pci/devices/*/driver_override; }
has_driver() { [ "$(basename "$(readlink "/sys/bus/pci/devices/$edu/driver")")" = "$1" ]; }
disk() { basename "$(readlink -f /sys/block/vda/device/..)"; }

shows_a_free_device() { device list && says "$edu +1234:11e8 +.* - +pa +- +-$"; }
shows_a_disk_in_use() { device list && says "$(disk) .*vda is mounted"; }
hides_bridges() { device list && ! says bridge && device list --all && says bridge; }
disk_is_refused() { refuses 'vda is mounted.*--force' bind "$(disk)"; }
bridge_is_refused() { refuses 'is a bridge' bind 0000:00:00.0; }
missing_is_refused() { refuses 'no PCI device 0000:1f:1f.7' bind 1f:1f.7; }
needs_consent() { refuses 'add --unsafe-noiommu' bind "$edu" && mode_is N; }
mode_is() { [ "$(cat /sys/module/vfio/parameters/enable_unsafe_noiommu_mode)" = "$1" ]; }

binds() {
    device bind --unsafe-noiommu "$edu" && says "$edu is now bound" && has_driver vfio-pci &&
        [ -c /dev/vfio/devices/noiommu-vfio0 ] && mode_is Y
}
binds_again() { device bind "$edu" && says 'was already bound'; }
shows_its_node() { device list && says "$edu .* vfio-pci +pa +noiommu-vfio0 +-$"; }
tells_it_in_json() {
    dmabufctl --json device list >"$work/out" && says '"address": "0000:00:04.0"' &&
        says '"vendor": 4660' && says '"node": "noiommu-vfio0"'
}
only_root_may() {
    ! setpriv --reuid=1001 --regid=1001 --clear-groups dmabufctl device unbind "$edu" \
        >"$work/out" 2>&1 && says 'only root may' && has_driver vfio-pci
}
names_the_holder() {
    sleep 100 9<>/dev/vfio/devices/noiommu-vfio0 &
    holder=$!
    sleep 0.5
    device list && says "$holder \(sleep\)" &&
        refuses "driven by $holder \(sleep\).*--force" unbind "$edu"
}
# The kernel has the node away at once, and then waits for whoever has it open.
force_waits() {
    local waiting
    dmabufctl device unbind --force "$edu" >"$work/out" 2>&1 &
    waiting=$!
    sleep 2
    kill -0 "$waiting" && kill -0 "$holder" && [ ! -e /dev/vfio/devices/noiommu-vfio0 ] &&
        ! says 'no driver now' || return 1
    kill "$holder" && { wait "$holder" || true; } && holder= && wait "$waiting" &&
        says 'no driver now' && has_driver '' && device bind "$edu" && has_driver vfio-pci
}
gives_back() {
    device unbind "$edu" && says 'no driver now' &&
        [ ! -e /dev/vfio/devices/noiommu-vfio0 ] && has_driver ''
}
not_ours_is_refused() { refuses 'is not bound to vfio-pci' unbind "$edu"; }
# The first is done although the second is refused.
each_by_itself() {
    ! device bind "$edu" 0000:00:00.0 && says 'is now bound' && says 'is a bridge' &&
        has_driver vfio-pci
}

check "a free device is shown" shows_a_free_device
check "a mounted disk is shown as in use" shows_a_disk_in_use
check "bridges are shown if asked for" hides_bridges
check "a mounted disk is not taken" disk_is_refused
check "a bridge is not taken" bridge_is_refused
check "a device that is not there" missing_is_refused
check "no device without an IOMMU unasked" needs_consent
check "bind" binds
check "bind once more" binds_again
check "its VFIO node is shown" shows_its_node
check "JSON" tells_it_in_json
check "only root may" only_root_may
check "a device in use is not given back, and by whom it is used" names_the_holder
check "with --force the end of its holder is waited for" force_waits
check "unbind" gives_back
check "what is not bound to vfio-pci is left alone" not_ours_is_refused
check "several addresses, each by itself" each_by_itself
