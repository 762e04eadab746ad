#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# dmabufctl against real daemons: exit statuses, JSON, held buffers, and private daemons of which
# nothing is left. TAP on stdout. Needs no root; as root more is tested.
#
# The looks of the text output are not tested, but for what people search for in it.

build=$(cd "${DMABUFD_BUILD_DIR:-.}" && pwd) || exit 99
ctl=$build/dmabufctl
work=$(mktemp -d /tmp/dmabufd-test-XXXXXX) || exit 99
chmod 755 "$work"
# In the environment of everything that is started here: what is left over can be found by it.
DMABUFD_TEST_MARK=mark-$$-$(basename "$work")
export DMABUFD_TEST_MARK
unset DMABUFD_SOCKET
test_number=0
daemon=

clean_up() {
    [ -n "$daemon" ] && kill "$daemon" 2>/dev/null && wait "$daemon"
    rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 1' INT TERM HUP

# ---- TAP ----

# result STATUS NAME: one line; 0 is success.
result() {
    test_number=$((test_number + 1))
    if [ "$1" -eq 0 ]; then
        echo "ok $test_number - $2"
        return
    fi
    echo "not ok $test_number - $2"
    for stream in out err; do
        [ -f "$work/$stream" ] && sed "s/^/# $stream: /" "$work/$stream"
    done
}

skip() {
    test_number=$((test_number + 1))
    echo "ok $test_number - $1 # SKIP $2"
}

# ---- looking ----

# expect STATUS COMMAND...: runs it with its output in files; succeeds if that is its exit status.
expect() {
    expected=$1
    shift
    "$@" >"$work/out" 2>"$work/err"
    status=$?
    [ "$status" -eq "$expected" ] || {
        echo "# exit status $status, not $expected: $*"
        return 1
    }
}

says() {
    grep -q -e "$1" "$work/out"
}

# Complaints go to stderr, each begins with the program's name, and stdout stays clean.
complains() {
    [ ! -s "$work/out" ] && grep -q "^dmabufctl: .*$1" "$work/err"
}

# json EXPRESSION: of the last output, which is v, holds. True without python3.
json() {
    command -v python3 >/dev/null || return 0
    python3 -c 'import json, sys
v = json.load(open(sys.argv[1]))
sys.exit(0 if eval(sys.argv[2]) else 1)' "$work/out" "$1" || {
        echo "# does not hold: $1"
        return 1
    }
}

# Processes that were started from here and still run, this shell and its like excepted.
leftovers() {
    for environ in /proc/[0-9]*/environ; do
        pid=${environ#/proc/}
        pid=${pid%/environ}
        tr '\0' '\n' 2>/dev/null <"$environ" | grep -q -x "DMABUFD_TEST_MARK=$DMABUFD_TEST_MARK" &&
            tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | grep -q "$1" && echo "$pid"
    done
}

# within CONDITION...: until it holds, for 10 s.
within() {
    tries=0
    until "$@"; do
        tries=$((tries + 1))
        [ "$tries" -lt 200 ] || return 1
        sleep 0.05
    done
}

nothing_left() {
    [ -z "$(leftovers "$1")" ]
}

in_use() {
    [ "$("$ctl" --json list 2>/dev/null | tr -d ' \n' |
        sed 's/.*"totals":{[^}]*"buffers":\([0-9]*\).*/\1/')" = "$1" ]
}

# ---- without a daemon ----

expect 0 "$ctl" --help && says '^Usage: dmabufctl' && says '^  status ' && says '^  alloc ' &&
    says '^  list ' && says '^  run '
result $? "help names the commands"

expect 0 "$ctl" --version && says '^dmabufctl [0-9]'
result $? "version"

for command in status alloc list run names open unpublish pool; do
    expect 0 "$ctl" "$command" --help && says "^Usage: dmabufctl $command"
    result $? "help of $command"
done

while read -r arguments; do
    # shellcheck disable=SC2086 # several words each
    expect 2 "$ctl" $arguments && [ ! -s "$work/out" ] && grep -q "Try 'dmabufctl" "$work/err"
    result $? "wrong usage: $arguments"
done <<'EOF'

--nonsense
--socket
frobnicate
status extra
status --nonsense
list extra
alloc
alloc 4K 4K
alloc 12Q
alloc -1
pool extra
pool --reserve
pool resize
pool resize 2M
pool resize 4K 1
pool resize 2M -- -1
pool resize --node=x 2M 1
alloc 4K --count=0
alloc 4K --count=x
alloc 4K --page-size=x
alloc 4K --page-size=0
alloc 4K --publish=x
alloc 4K --hold --count=2 --publish=x
alloc 4K --hold --publish=x --mode=0700
alloc 4K --hold --publish=x --mode=rw
alloc 4K --hold --publish=x --group=nobody-has-this
names extra
open
open a b
open --owner=nobody-has-this a
unpublish
run
run --nonsense
run --backend
EOF

for command in status list names "alloc 4K" "open x" "unpublish x"; do
    # shellcheck disable=SC2086 # several words
    expect 1 "$ctl" --socket "$work/none" $command && complains "$work/none"
    result $? "no daemon: $command"
done

expect 1 "$ctl" --socket "/tmp/$(printf '%0200d' 0)" status && complains "path"
result $? "no daemon: path too long"

# ---- with a daemon ----

DMABUFD_SOCKET=$work/socket
export DMABUFD_SOCKET
if [ "$(id -u)" -eq 0 ]; then
    "$build/dmabufd" --backend fake --fake layout=run:64K --socket "$DMABUFD_SOCKET" \
        --socket-mode 0666 --user 61901 2>"$work/log" &
else
    "$build/dmabufd" --backend fake --fake layout=run:64K --socket "$DMABUFD_SOCKET" \
        2>"$work/log" &
fi
daemon=$!

serves() {
    "$ctl" status >/dev/null 2>&1
}

within serves
result $? "a daemon serves"

expect 0 "$ctl" status && says 'fake' && says 'pinned' && [ ! -s "$work/err" ]
result $? "status"

expect 0 "$ctl" --json status &&
    json 'v["backend"] == "fake" and v["mode"] == "fake" and v["pin"] == "none"' &&
    json 'v["clients"] == 1 and v["buffers"] == 0 and v["bytes"] == 0 and v["jobs"] == 0' &&
    json 'v["broker_starts"] == 1 and v["unreleasable_bytes"] == 0 and v["uptime_ns"] > 0' &&
    json '4096 in v["page_sizes"] and v["max_size"] > 4096 and v["max_buffers"] > 0' &&
    json 'v["version"] != "" and v["backend_reason"] != ""'
result $? "status in JSON"

expect 0 "$ctl" --socket "$work/socket" --json status && json 'v["clients"] == 1'
result $? "the option --socket"

DMABUFD_SOCKET=/nowhere expect 0 "$ctl" --socket "$work/socket" status
result $? "the option goes before the environment"

expect 0 "$ctl" alloc 64K && says '65536' && says '0x10000000000000'
result $? "alloc"

expect 0 "$ctl" --json alloc 1M --page-size 4K &&
    json 'v["size"] == 1 << 20 and v["page_size"] == 4096 and v["mode"] == "fake"' &&
    json 'v["span_count"] == 16 == len(v["spans"]) and v["largest_span"] == 65536' &&
    json 'sum(s["length"] for s in v["spans"]) == v["size"]' &&
    json '[s["offset"] for s in v["spans"]] == [i << 16 for i in range(16)]' &&
    json 'all(isinstance(s["dma_addr"], str) for s in v["spans"])' &&
    json 'all(int(s["dma_addr"], 16) >= 1 << 52 for s in v["spans"])' &&
    json 'len(set(s["dma_addr"] for s in v["spans"])) == 16'
result $? "alloc in JSON"

expect 0 "$ctl" --json alloc 4K --count 3 &&
    json 'len(v) == 3 and len(set(b["id"] for b in v)) == 3' &&
    json 'all(b["size"] == 4096 for b in v)'
result $? "alloc --count in JSON"

expect 0 "$ctl" alloc 4M --page-size=4K && says '44 more' && expect 0 "$ctl" alloc 4M -p 4K --all &&
    [ "$(grep -c ' 0x1[0-9a-f]\{13\} ' "$work/out")" -eq 64 ]
result $? "long scatter lists are cut, --all shows them"

expect 0 "$ctl" --json alloc 4K --node=0 && json 'v["nodes"] == [0]' &&
    expect 0 "$ctl" alloc 4K --prefer-node 0 && says 'node 0' &&
    expect 1 "$ctl" alloc 4K --node 5 && complains 'node 5' &&
    expect 1 "$ctl" alloc 4K --node 0 --prefer-node 0 && complains 'not both' &&
    expect 2 "$ctl" alloc 4K --node=x && complains "'x' is not what --node takes"
result $? "alloc on a node"

expect 1 "$ctl" alloc 0 && complains 'size is 0'
result $? "refused: nothing"

expect 1 "$ctl" alloc 1024T && complains 'memory'
result $? "refused: too much"

expect 1 "$ctl" alloc 1M --dma-bits 32 --page-size 4K && complains '.'
result $? "refused: a device of 32 bits cannot take these addresses"

expect 0 "$ctl" --json list && json 'v["buffers"] == [] and v["totals"]["buffers"] == 0' &&
    json 'v["totals"]["clients"] == 1 and v["totals"]["bytes"] == 0'
result $? "list in JSON"

# ---- the pool ----

expect 0 "$ctl" pool && says 'target' && says '2 MiB'
result $? "pool"

expect 0 "$ctl" --json pool &&
    json 'all(s["ready"] == s["target"] == 0 and s["state"] == "unused" for s in v["sets"])'
result $? "pool in JSON"

expect 2 "$ctl" pool resize 2M && expect 2 "$ctl" pool resize 3M 1 && expect 2 "$ctl" pool grow
result $? "pool: wrong usage"

expect 1 "$ctl" pool resize --no-wait 2M 99999999999 && complains 'more than'
result $? "pool: refused: more than the host has"

if [ "$(cat /sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages 2>/dev/null || echo 0)" -ge 4 ]; then
    expect 0 "$ctl" pool resize 2M 4 && expect 0 "$ctl" --json pool &&
        json 'sum(s["ready"] for s in v["sets"]) == 4 * 2**21 and v["map"]["cell"] > 0'
    result $? "pool: filled"
    expect 0 "$ctl" --json alloc 2M && json 'v["page_size"] == 2**21' &&
        expect 0 "$ctl" --json pool && json 'sum(s["grants"] for s in v["sets"]) == 1'
    result $? "pool: granted from"
    expect 0 "$ctl" pool resize 2M 0 && expect 0 "$ctl" --json pool &&
        json 'sum(s["ready"] for s in v["sets"]) == 0'
    result $? "pool: given back"
else
    skip "pool: filled" "no free huge pages of 2 MiB"
    skip "pool: granted from" "no free huge pages of 2 MiB"
    skip "pool: given back" "no free huge pages of 2 MiB"
fi

"$ctl" status >/dev/full 2>"$work/err"
[ $? -eq 1 ]
result $? "output that cannot be written is a failure"

# ---- held ----

mkfifo "$work/fifo"
"$ctl" --json alloc 8K --hold --count 2 <"$work/fifo" >"$work/out" 2>"$work/err" &
holder=$!
exec 8>"$work/fifo"
within in_use 2 && within test -s "$work/out" && json 'len(v) == 2'
result $? "--hold holds"
echo "not the end" >&8
in_use 2 && kill -0 "$holder"
result $? "input that is not the end changes nothing"
exec 8>&-
wait "$holder"
status=$?
[ "$status" -eq 0 ] && within in_use 0
result $? "--hold ends with its input"

exec 9<>"$work/fifo"
"$ctl" alloc 8K --hold <&9 >"$work/out" 2>"$work/err" &
holder=$!
within in_use 1 && within test -s "$work/out" && kill -TERM "$holder" && wait "$holder"
status=$?
[ "$status" -eq 0 ] && within in_use 0
result $? "--hold ends with SIGTERM"

"$ctl" alloc 8K --hold <&9 >"$work/out" 2>"$work/err" &
holder=$!
within in_use 1 && kill -KILL "$holder"
wait "$holder" 2>/dev/null
within in_use 0
result $? "SIGKILL releases too"

# ---- names ----

expect 0 "$ctl" names && says 'no name' && expect 0 "$ctl" --json names && json 'v == []'
result $? "no names"

"$ctl" alloc 8K --hold --publish=a/name --mode=0640 <&9 >"$work/held" 2>&1 &
holder=$!
within test -s "$work/held" && grep -q read-write "$work/held" && expect 0 "$ctl" names &&
    says '0640 .* 8 KiB .* 1  *a/name$'
result $? "alloc --publish, names"

expect 0 "$ctl" --json names &&
    json "len(v) == 1 and v[0]['name'] == 'a/name' and v[0]['mode'] == '0640'" &&
    json "v[0]['size'] == 8192 and v[0]['holders'] == 1 and v[0]['owner'] == $(id -u)" &&
    json "v[0]['group'] == $(id -g)"
result $? "names in JSON"

expect 0 "$ctl" open a/name && says 'read-write' && says ' 0x10' &&
    expect 0 "$ctl" --json open --read-only --owner="$(id -u)" a/name &&
    json "v['access'] == 'read-only' and v['size'] == 8192 and v['span_count'] == 1"
result $? "open"

"$ctl" open --hold -r a/name <&9 >"$work/opened" 2>&1 &
opener=$!
within test -s "$work/opened" && kill -KILL "$holder"
wait "$holder" 2>/dev/null
within in_use 1 && expect 0 "$ctl" open a/name
result $? "a name stays with who else holds the buffer"

expect 1 "$ctl" open --owner=4000000000 a/name && complains 'expected' &&
    expect 1 "$ctl" open b && complains 'no buffer' &&
    expect 1 "$ctl" alloc 4K --hold --publish=a/name && complains 'taken' && within in_use 1
result $? "refused: another owner, no such name, a name that is taken"

expect 1 "$ctl" unpublish b a/name && complains 'b: ' && expect 1 "$ctl" open a/name &&
    expect 1 "$ctl" unpublish a/name
result $? "unpublish"
kill -TERM "$opener" && wait "$opener" && within in_use 0
result $? "open --hold ends with SIGTERM"

"$ctl" alloc 8K --hold <&9 >"$work/out" 2>"$work/err" &
holder=$!
within in_use 1 && within test -s "$work/out"
kill -TERM "$daemon" && wait "$daemon"
status=$?
daemon=
[ "$status" -eq 0 ] && [ ! -e "$work/socket" ]
result $? "the daemon ends while buffers are held"
wait "$holder"
status=$?
[ "$status" -eq 1 ] && grep -q '^dmabufctl: the buffers are lost: the daemon is ending' "$work/err" &&
    [ "$(wc -l <"$work/err")" -eq 1 ]
result $? "and their holder says once that it lost them, and ends"
exec 9>&-
unset DMABUFD_SOCKET

# ---- private daemons ----

run() {
    "$ctl" run --backend fake --daemon "$build/dmabufd" "$@"
}

# The directory of the daemon, as the command wrote it down, is gone, and all processes.
is_gone() {
    [ -s "$work/where" ] && where=$(cat "$work/where") && rm "$work/where" && [ ! -e "$where" ] &&
        [ ! -e "$(dirname "$where")" ] && nothing_left dmabufd
}

# shellcheck disable=SC2016 # for the shell inside
note='echo "$DMABUFD_SOCKET" >'"'$work/where'; test -S \"\$DMABUFD_SOCKET\" && "
umask_before=$(umask)

expect 0 run -- sh -c "$note exit 0" && is_gone
result $? "run"

expect 7 run -- sh -c "$note exit 7" && is_gone
result $? "run: exit status"

expect 137 run -- sh -c "$note kill -9 \$\$" && is_gone
result $? "run: killed by a signal"

expect 127 run -- "$work/no-such-command" && nothing_left dmabufd
result $? "run: no such command"

expect 126 run -- "$work" && nothing_left dmabufd
result $? "run: not a command"

expect 0 run -- "$ctl" --json status && json 'v["backend"] == "fake" and v["buffers"] == 0'
result $? "run: the command finds the daemon"

expect 0 run -- "$ctl" --json alloc 64K && json 'v["size"] == 65536'
result $? "run: and gets memory"

[ "$(echo through | run -- cat)" = through ]
result $? "run: standard streams"

expect 0 run --daemon-arg=--fake=layout=run:4K -- "$ctl" --json alloc 16K &&
    json 'v["span_count"] == 4'
result $? "run: arguments for the daemon"

expect 2 run --daemon-arg=--nonsense -- true && grep -q nonsense "$work/err" && nothing_left dmabufd
result $? "run: a daemon that does not understand"

expect 1 run --daemon-arg=--fake=spiral -- touch "$work/ran" && grep -q spiral "$work/err" &&
    [ ! -e "$work/ran" ] && nothing_left dmabufd
result $? "run: a daemon that does not start, and no command without it"

expect 127 "$ctl" run --daemon "$work/none" -- true && grep -q "$work/none" "$work/err"
result $? "run: no daemon to start"

expect 2 "$ctl" --json run --backend fake -- true
result $? "run takes no --json"

if [ "$(id -u)" -eq 0 ]; then
    expect 0 run --as 61001 -- sh -c 'id -u; id -g; id -G' && [ "$(uniq "$work/out")" = 61001 ]
    result $? "run --as"
    expect 0 run --as 61001 -- "$ctl" --json alloc 64K && json 'v["size"] == 65536'
    result $? "run --as: and gets memory"
    expect 2 run --as no-such-user-here -- true && complains no-such-user-here
    result $? "run --as: no such user"
else
    expect 2 run --as 61001 -- true && complains root
    result $? "run --as needs root"
fi

# ---- and their sudden ends ----

is_noted() {
    [ -s "$work/where" ]
}

for signal in TERM HUP; do
    rm -f "$work/where"
    # Whoever runs this may ignore HUP (nohup), and what is ignored stays so in children.
    env --default-signal=HUP "$ctl" run --backend fake --daemon "$build/dmabufd" -- \
        sh -c "$note exec sleep 100" >"$work/out" 2>"$work/err" &
    runner=$!
    within is_noted && kill "-$signal" "$runner"
    wait "$runner"
    status=$?
    [ "$status" -eq "$([ "$signal" = TERM ] && echo 143 || echo 129)" ]
    result $? "run: $signal reaches the command"
    within nothing_left sleep && is_gone
    result $? "run: and nothing is left"
done

rm -f "$work/where"
"$ctl" run --backend fake --daemon "$build/dmabufd" -- sh -c "$note exec sleep 100" \
    >"$work/out" 2>"$work/err" &
runner=$!
within is_noted && kill -KILL "$runner"
wait "$runner" 2>/dev/null
within nothing_left dmabufd
result $? "run: no daemon outlives dmabufctl"
for pid in $(leftovers sleep); do
    kill "$pid"
done
[ -s "$work/where" ] && rm -rf "$(dirname "$(cat "$work/where")")"

umask 077
rm -f "$work/where"
expect 0 run -- sh -c "$note $ctl status" && is_gone
result $? "run: with a narrow umask"
umask "$umask_before"

echo "1..$test_number"
