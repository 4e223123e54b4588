#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Every crash of a real backup: what its daemon wrote, synced and renamed is recorded (tests/crash), thousands of disks
# that a crash could have left are built from it, the real recovery runs on each. All images are exactly one epoch,
# acknowledged <= it <= ordered; after a failover they are that plus the overlay, and every write fsynced since.
# Some of the disks become files, for the real daemon to mount. A broken daemon's crashes must be told from a sound one's.
# not-sanitized: what it runs is a build of its own, and then thousands of recoveries in memory
. "$(dirname "$0")/../lib.sh" || exit 1
. "$TESTS/crash/record.sh"
require_root

: "${SEED:=1}" "${GAP:=32}" "${STATES_MIN:=10000}" "${MOUNTED:=20}"
say "seed $SEED"
states=0
mkdir "$T/m"

again() { # a new pair, in a new log
	LOG=$T/$1.crashlog
	rm -rf "$AS" "$BS"
	mkdir "$AS" "$BS"
}
judge() { # every crash of $LOG; $OUT has the figures
	if ! crash-states run "$LOG" "$SEED" "$GAP" >"$T/figures"; then
		mkdir -p "$BUILD/logs"
		cp "$LOG" "$BUILD/logs/"
		fail "$(cat "$T/figures") (the log is in $BUILD/logs)"
	fi
	sed 's/^/# /' "$T/figures"
	OUT=$(cat "$T/figures")
	states=$((states + $(figure states)))
}
figure() { # NAME
	sed -n "s/.*\\b$1=\\([0-9]*\\).*/\\1/p" <<<"$OUT"
}
# One crash as files, mounted by the real daemon: its images in the mount, and in SOURCE when it has been stopped.
mount_one() { # POS SEED
	local epoch role
	rm -rf "$T/m.src"
	crash-states out "$LOG" "$1" "$2" "$T/m.src"
	free_port
	colofs_mount "$T/m.src" "$T/m" \
		"listen=127.0.0.1:$PORT,tls=$T/certs/b,peer-name=a,journal-size=16M,overlay-size=16M"
	epoch=$(status "$T/m" .epoch.committed)
	role=$(status "$T/m" 'if .role == "backup" then "backup" else "promoted" end')
	crash-states check "$LOG" "$1" "$T/m" "$epoch" "$role" || fail "the mount of crash $1 $2"
	if [ "$role" = backup ] && [ "$epoch" != 0 ] && [ $(($2 % 2)) = 0 ]; then
		failover "$T/m" "drop-overlay epoch=$epoch"
		crash-states check "$LOG" "$1" "$T/m" "$epoch" backup || fail "failover after crash $1 $2"
	fi
	stop "$T/m"
	crash-states check "$LOG" "$1" "$T/m.src" "$epoch" "$role" || fail "the files after crash $1 $2"
}
mount_some() { # COUNT
	local pos seed
	while read -r pos seed; do
		mount_one "$pos" "$seed"
		mounted=$((mounted + 1))
	done < <(crash-states pick "$LOG" "$1" "$SEED")
}
mounted=0

say "an orderly restart, and a SIGKILL in mid-epoch"
again restarts
record_begin
crash-load run "$LOG" "$A" "$B" "$SEED" 14
wait_for 20 backup_quiet || fail "the backup is never quiet"
stop "$B"
crash-load mark "$LOG" sync
start_recorded
resynced
crash-load run "$LOG" "$A" "$B" $((SEED + 1)) 10
crash-load write "$LOG" "$A" $((SEED + 2))
crash-load mark "$LOG" sync
wait_for 20 backup_quiet || fail "the backup is never quiet"
kill9 "$B"
start_recorded
resynced
crash-load run "$LOG" "$A" "$B" $((SEED + 3)) 14
stop "$A" "$B"
judge
[ "$(figure recycled)" -gt 0 ] || fail "no segment was recycled"
[ "$(figure ahead_of_it)" -gt 0 ] || fail "no crash between a commit's durability and its acknowledgement"
mount_some $((MOUNTED / 2))

record_failover() {
	again failover
	rm -f "$T/b.log"
	record_begin
	crash-load run "$LOG" "$A" "$B" $((SEED + 4)) 12
	crash-load write "$LOG" "$A" $((SEED + 5))
	crash-load twin "$LOG" "$B" $((SEED + 6)) 120
	kill9 "$A"
	wait_status "$B" '.link.state != "up"'
	crash-load failover "$LOG" "$B" $((SEED + 7)) 40
	wait_for 20 grep -q "the journal is drained" "$T/b.log" || fail "the journal is never drained"
	crash-load local "$LOG" "$B" $((SEED + 8)) 20
	stop "$B"
}
say "a failover"
for ((try = 0; try < 4; try++)); do # until some writes came before the journal was drained
	record_failover
	judge
	[ "$(figure local)" = 0 ] || break
done
[ "$(figure promoted)" -gt 0 ] || fail "no crash after the failover"
[ "$(figure local)" -gt 0 ] || fail "no local write went through the journal"
mount_some $((MOUNTED - MOUNTED / 2))
say "$states states, $mounted of them mounted"
[ "$states" -ge "$STATES_MIN" ] || fail "only $states states"

say "a backup that says done before its fdatasync"
again mutant
export COLOFS_MUTANT=no-commit-fdatasync
record_begin
crash-load run "$LOG" "$A" "$B" "$SEED" 6
stop "$A" "$B"
unset COLOFS_MUTANT
must_fail crash-states run "$LOG" "$SEED" "$GAP"
assert_match "$OUT" "*recovery: epoch * was acknowledged*" "the verdict"
