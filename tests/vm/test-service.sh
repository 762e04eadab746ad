#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# dmabufd as it is installed, under a real systemd: started by its socket, told ready, sandboxed,
# logging to the journal, brought back when it dies. TAP on stdout; runs in the guest, as root.
#
# What the daemon does for its clients is tested without systemd, in tests/integration.
set -u

work=$(mktemp -d)
mkfifo "$work/never"
device=0000:00:04.0
drop_in=/run/systemd/system/dmabufd.service.d
number=0
# Clients that hold buffers, to be ended by release().
holders=()

finish() {
    release
    rm -rf "$work"
    echo "1..$number"
}
trap finish EXIT

# ---- TAP ----

# NAME COMMAND...
check() {
    local name=$1
    shift
    number=$((number + 1))
    if "$@" >"$work/check" 2>&1; then
        echo "ok $number - $name"
        return
    fi
    echo "not ok $number - $name"
    { cat "$work/check" && journalctl -q -b -n 25 -o short-monotonic -u dmabufd; } | sed 's/^/# /'
}

# ---- looking ----

within() {
    local i
    for ((i = 0; i < 200; i++)); do
        "$@" >/dev/null 2>"$work/within" && return
        sleep 0.1
    done
    cat "$work/within"
    echo "not within 20 s: $*"
    return 1
}

property() { systemctl show -P "$2" "$1"; }
is() { [ "$(property dmabufd.service "$1")" = "$2" ] || { property dmabufd.service "$1" && false; }; }
# Fails while there is none, for which systemd says 0.
keeper() {
    local pid
    pid=$(property dmabufd.service MainPID)
    [ "$pid" -gt 1 ] && echo "$pid"
}
broker() {
    local pid
    pid=$(keeper) && pgrep -P "$pid"
}
# PID FIELD: of /proc/PID/status.
status_of() { sed -n "s/^$2:[[:space:]]*//p" "/proc/$1/status"; }
# Reading stat_refresh brings in what each CPU counted for itself.
pinned() {
    cat /proc/sys/vm/stat_refresh
    awk '$1 == "nr_foll_pin_acquired" { a = $2 } $1 == "nr_foll_pin_released" { r = $2 }
        END { print a - r }' /proc/vmstat
}

as() { setpriv --init-groups --reuid="$1" --regid="$1" "${@:2}"; }
ctl() { as client dmabufctl "$@"; }

# A client that holds 4 MiB from now on: its standard input never ends.
hold() {
    rm -f "$work/held"
    setpriv --init-groups --reuid=client --regid=client \
        dmabufctl alloc 4M --hold >"$work/held" <>"$work/never" &
    holders+=($!)
    within grep -q dma_addr "$work/held"
}
release() {
    local pid
    for pid in "${holders[@]}"; do
        kill "$pid" 2>/dev/null
        wait "$pid" 2>/dev/null
    done
    holders=()
}

# ---- tests ----

users_are_made() {
    systemd-sysusers && id dmabufd && getent group dmabuf && id client | grep -q '(dmabuf)'
}

socket_is_there() {
    [ "$(property dmabufd.socket ActiveState)" = active ] && is ActiveState inactive &&
        [ "$(stat -c '%a %G' /run/dmabufd/dmabufd.sock)" = '660 dmabuf' ]
}

stranger_is_refused() {
    ! as client2 dmabufctl status 2>"$work/err" && grep -q 'ermission' "$work/err" &&
        is ActiveState inactive
}

first_client_starts_it() {
    ctl status >"$work/status" && is ActiveState active && is Type notify && is SubState running &&
        grep -q iommufd "$work/status"
}

status_text_says_backend() {
    property dmabufd.service StatusText | grep -q iommufd
}

# Bounding set of the unit, of which it keeps what it needs after the start.
keeper_has_few_capabilities() {
    local now
    now=$(capabilities "$(keeper)")
    echo "effective: $now"
    [[ $now == *cap_sys_rawio* ]] && ! grep -qE 'sys_admin|dac_override|sys_ptrace|net_admin|sys_module' <<<"$now"
}
capabilities() { capsh --decode="$(status_of "$1" CapEff)"; }

broker_has_none() {
    local pid
    pid=$(broker) && [ "$(status_of "$pid" CapEff)" = 0000000000000000 ] &&
        [ "$(status_of "$pid" CapBnd)" = 0000000000000000 ] &&
        [ "$(status_of "$pid" NoNewPrivs)" = 1 ] &&
        [ "$(status_of "$pid" Uid | cut -f1)" = "$(id -u dmabufd)" ]
}

serves_small_and_huge() {
    ctl alloc 64K >"$work/out" && grep -q 'mode pa, pin longterm' "$work/out" &&
        ctl alloc 4M --page-size 2M >"$work/out" && grep -q 'pages of 2 MiB' "$work/out"
}

# As the README says. More than the host has, so that some have to be made; nobody but root may.
pool_is_reserved() {
    local had
    had=$(cat /proc/sys/vm/nr_hugepages)
    ! ctl pool resize 2M 1 2>"$work/err" && grep -q 'only root' "$work/err" &&
        dmabufctl pool resize --reserve 2M $((had + 8)) && dmabufctl pool >"$work/pool" &&
        cat "$work/pool" && grep -q full "$work/pool" &&
        [ "$(cat /proc/sys/vm/nr_hugepages)" -ge $((had + 8)) ] &&
        ctl alloc 2M --page-size 2M >"$work/granted" && grep -q dma_addr "$work/granted" &&
        dmabufctl --json pool | grep -q '"grants": 1' &&
        dmabufctl pool resize 2M 0
}

journal_knows_it() {
    journalctl -q -b -u dmabufd -o cat >"$work/journal" && grep -q 'iommufd' "$work/journal" &&
        journalctl -q -b -u dmabufd -o json -n 1 | grep -q '"PRIORITY"'
}

# Neither physical nor any other address: the spans the client was told are not in the log.
journal_has_no_address() {
    local address
    hold || return
    address=$(sed -nE 's/.* 0x([0-9a-f]{5,}) .*/\1/p' "$work/held" | head -n 1)
    release
    [ -n "$address" ] && ! journalctl -q -b -u dmabufd -o cat | grep -i "$address"
}

broker_comes_back() {
    local main before
    main=$(keeper) && before=$(broker) && kill -KILL "$before" || return
    within ctl status && [ "$(keeper)" = "$main" ] && [ "$(broker)" != "$before" ] &&
        is NRestarts 0
}

keeper_comes_back() {
    local before
    before=$(keeper) && kill -KILL "$before" || return
    within ctl status && [ "$(keeper)" != "$before" ] && is NRestarts 1 && is ActiveState active
}

# systemd hears from the keeper as long as it is well, and ends it when not.
watchdog_leaves_it_alone() {
    local before
    mkdir -p "$drop_in" && printf '[Service]\nWatchdogSec=8\n' >"$drop_in/watchdog.conf" &&
        systemctl daemon-reload && systemctl restart dmabufd.service || return
    is WatchdogUSec 8s && before=$(keeper) && sleep 20 && [ "$(keeper)" = "$before" ] &&
        is NRestarts 0
}
watchdog_ends_what_hangs() {
    local before
    before=$(keeper) && kill -STOP "$before" || return
    within keeper_is_another_than "$before" && within ctl status && is NRestarts 1 &&
        is ActiveState active && journalctl -q -b -u dmabufd -o cat | grep -q 'Watchdog timeout' &&
        rm -r "$drop_in" && systemctl daemon-reload && systemctl restart dmabufd.service &&
        is WatchdogUSec 1min
}
keeper_is_another_than() { local pid && pid=$(keeper) && [ "$pid" != "$1" ]; }

# Also from an end in order that nobody asked systemd for, and without a limit that is reached one day.
comes_back_in_any_case() {
    local before
    before=$(keeper) && kill -TERM "$before" && within keeper_is_another_than "$before" &&
        within ctl status && is StartLimitIntervalUSec 0
}

# Both orders: the kernel unpins when the last descriptor goes.
nothing_stays_pinned() {
    local before
    before=$(pinned)
    hold && more_pins_than "$before" && release && within pins_are "$before" &&
        hold && kill -KILL "$(keeper)" && release && within ctl status && within pins_are 0
}
more_pins_than() { echo "$(pinned) pinned, $1 before" && [ "$(pinned)" -gt "$1" ]; }
pins_are() { echo "$(pinned) pinned, not $1" >&2 && [ "$(pinned)" = "$1" ]; }

stops_under_load() {
    hold && systemctl stop dmabufd.service && is ActiveState inactive && is Result success
}

socket_starts_it_again() {
    release
    [ "$(property dmabufd.socket ActiveState)" = active ] && ctl status >/dev/null &&
        is ActiveState active
}

options_come_from_the_file() {
    echo "DMABUFD_OPTIONS=--backend=pagemap" >/etc/default/dmabufd
    systemctl restart dmabufd.service && ctl status | grep -q pagemap && ctl alloc 64K >/dev/null
}

# What is wrong must be readable where people look.
wrong_option_is_told() {
    echo "DMABUFD_OPTIONS=--nonsense" >/etc/default/dmabufd
    ! systemctl restart dmabufd.service 2>/dev/null && ! is Result success >/dev/null &&
        journalctl -q -b -u dmabufd -o cat | grep -q nonsense
}

recovers_from_it() {
    echo "DMABUFD_OPTIONS=--device=$device" >/etc/default/dmabufd
    systemctl reset-failed dmabufd.service dmabufd.socket
    systemctl start dmabufd.socket && ctl status | grep -q iommufd
}

# Longer than systemd would wait for it, and its status tells people why.
waits_for_its_device() {
    local group holder
    group=$(basename "$(readlink "/sys/bus/pci/devices/$device/iommu_group")")
    systemctl stop dmabufd.service && mkdir -p "$drop_in" &&
        printf '[Service]\nTimeoutStartSec=3\n' >"$drop_in/timeout.conf" &&
        systemctl daemon-reload || return
    sleep 100 9<>"/dev/vfio/noiommu-$group" &
    holder=$!
    systemctl start --no-block dmabufd.service
    within status_text_has "Waiting for 60 s at most: device $device is in use" && sleep 8 &&
        is ActiveState activating && is NRestarts 0
    local ok=$?
    kill "$holder"
    wait "$holder" 2>/dev/null
    rm -r "$drop_in"
    [ $ok = 0 ] && within is ActiveState active && ctl status | grep -q iommufd && is NRestarts 0
    ok=$?
    systemctl daemon-reload
    return $ok
}
status_text_has() { property dmabufd.service StatusText | grep -qF "$1"; }

# A start that fails says why in the status, too.
failed_start_is_told() {
    echo "DMABUFD_OPTIONS=--backend=iommufd --device=0000:00:1e.7" >/etc/default/dmabufd
    ! systemctl restart dmabufd.service 2>/dev/null && within status_is_of_a_failed_start
    local ok=$?
    echo "DMABUFD_OPTIONS=--device=$device" >/etc/default/dmabufd
    systemctl restart dmabufd.service && return $ok
}

# Between one start and the next.
status_is_of_a_failed_start() {
    status_text_has "backend iommufd: no PCI device 0000:00:1e.7 on this host" &&
        is ExecMainStatus 1 && is StatusErrno 19
}

echo "DMABUFD_OPTIONS=--device=$device" >/etc/default/dmabufd
check "systemd-sysusers makes user and group" users_are_made
check "systemctl enable --now dmabufd.socket" systemctl enable --now dmabufd.socket
check "the socket is there, the daemon is not" socket_is_there
check "somebody outside of the group is refused" stranger_is_refused
check "the first client starts it" first_client_starts_it
check "the status text names the backend" status_text_says_backend
check "the keeper has few capabilities" keeper_has_few_capabilities
check "the broker has none" broker_has_none
check "small and huge pages from inside the sandbox" serves_small_and_huge
check "huge pages are reserved for the pool, and granted" pool_is_reserved
check "the journal has its log" journal_knows_it
check "the journal has no address" journal_has_no_address
check "a killed broker comes back in the same service" broker_comes_back
check "a killed keeper is started again" keeper_comes_back
check "the watchdog leaves it alone while it is well" watchdog_leaves_it_alone
check "the watchdog ends a keeper that hangs" watchdog_ends_what_hangs
check "a keeper that somebody ended comes back" comes_back_in_any_case
check "nothing stays pinned after clients and keeper" nothing_stays_pinned
check "systemctl stop while a client holds memory" stops_under_load
check "the socket starts it again" socket_starts_it_again
check "options come from /etc/default/dmabufd" options_come_from_the_file
check "a wrong option is told" wrong_option_is_told
check "and can be mended" recovers_from_it
check "a device that is in use is waited for" waits_for_its_device
check "a failed start is told in the status" failed_start_is_told
