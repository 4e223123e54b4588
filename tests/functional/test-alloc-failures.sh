#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# The daemon's Nth allocation fails, for some N (ALLOC_STEP=1: for all): at start, with a session, with guests' writes, a
# flush, at the end. It never dies by a signal and never hangs; when memory is back the pair heals and the copies are equal.
# not-sanitized: what it runs is a build of its own, whose malloc fails; the fuzzers do the same under ASan
. "$(dirname "$0")/../lib.sh" || exit 1
require_root
[ -x "$BUILD/failing/colofs" ] || fail "no $BUILD/failing/colofs was built"
: "${ALLOC_STEP:=17}"
mkcerts
free_port && PEER_PORT=$PORT
random_file "$AS/disk" 300000

daemon() { # BINARY SOURCE MNT ROLE: PID
	local opts="role=$4,tls=$T/certs/a,peer=127.0.0.1:$PEER_PORT"
	[ "$1" = "$BUILD/failing/colofs" ] || opts+=,start-alone # the sound one does not wait for one that may never be there
	[ "$4" = primary ] || opts="role=$4,tls=$T/certs/b,listen=127.0.0.1:$PEER_PORT,peer-name=a"
	"$1" -f "$2" "$3" -o "$opts,link-timeout=1s,flush-timeout=2s" >>"$T/${3##*/}.log" 2>&1 {TICK}>&- &
	PID=$!
}
answers_or_gone() { # MNT
	[ -e "$1/.colo/status" ] || ! kill -0 "$PID" 2>/dev/null
}
# What a guest and an operator do; each of it may fail, none of it may hang.
use() { # N
	local n=$1
	timeout 20 dd if=/dev/urandom of="$A/disk" bs=8k seek=$((n % 30)) count=2 conv=notrunc,fsync status=none 2>/dev/null || :
	timeout 20 dd if="$A/disk" of=/dev/null bs=64k status=none 2>/dev/null || :
	timeout 20 sh -c "echo flush >'$A/.colo/ctl'" 2>/dev/null || [ $? != 124 ] || fail "a flush hangs, N=$n"
	timeout 20 cat "$A/.colo/status.json" "$A/.colo/metrics" "$A/.colo/status" >/dev/null 2>&1 || :
	timeout 20 dd if=/dev/zero of="$B/disk" bs=4k count=1 conv=notrunc status=none 2>/dev/null || :
}
end() { # PID MNT N
	local rc=0
	umount "$2" 2>/dev/null || :
	wait_for 30 eval "! kill -0 $1 2>/dev/null" || fail "the daemon does not end, N=$3"
	wait "$1" || rc=$?
	[ "$rc" -lt 128 ] || fail "the daemon died by signal $((rc - 128)), N=$3"
	! findmnt "$2" >/dev/null || umount -l "$2"
}
linked_or_gone() {
	! kill -0 "$PID" 2>/dev/null || status_is "$A" '.link.state == "up" or .link.state == "syncing"'
}
one() { # ROLE N: the node of that role fails; the other is sound
	local sound=$AS sound_mnt=$A sound_role=primary ailing=$BS ailing_mnt=$B sound_pid
	if [ "$1" = primary ]; then
		sound=$BS sound_mnt=$B sound_role=backup ailing=$AS ailing_mnt=$A
	fi
	daemon "$BUILD/colofs" "$sound" "$sound_mnt" "$sound_role"
	sound_pid=$PID
	COLOFS_COUNT_ALLOC="$T/count" COLOFS_FAIL_ALLOC=$2 daemon "$BUILD/failing/colofs" "$ailing" "$ailing_mnt" "$1"
	wait_for 30 answers_or_gone "$ailing_mnt" || fail "neither start nor end, N=$2"
	wait_for 10 test -e "$sound_mnt/.colo/status" || fail "the sound one does not start"
	wait_for 5 linked_or_gone || :
	use "$2"
	end "$PID" "$ailing_mnt" "$2"
	end "$sound_pid" "$sound_mnt" "$2"
	COUNT=$(cat "$T/count" 2>/dev/null || echo 0)
}

# The first run, with none failing, says how many there are.
for role in primary backup; do
	one "$role" 0
	total=$COUNT
	[ "$total" -gt 20 ] || fail "only $total allocations were counted"
	runs=0
	for ((n = 1 + RANDOM % ALLOC_STEP; n <= total; n += ALLOC_STEP)); do
		one "$role" "$n"
		runs=$((runs + 1))
	done
	say "$role: $total allocations, $runs of them failed"
done
daemon "$BUILD/colofs" "$BS" "$B" backup
daemon "$BUILD/colofs" "$AS" "$A" primary
wait_for 10 test -e "$B/.colo/status" || fail "no backup"
wait_for 10 test -e "$A/.colo/status" || fail "no primary"
wait_protected
flush "$A"
assert_same "$A/disk" "$B/disk"
stop "$A" "$B"
assert_same "$AS/disk" "$BS/disk"
