# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# Recordings of a pair whose node b is build/crash/colofs: for tests that have sourced lib.sh. The log is $LOG.

start_recorded() { # [OPTIONS]: node b, in the foreground
	mkcerts
	[ -n "${PEER_PORT:-}" ] || { free_port && PEER_PORT=$PORT; }
	COLOFS_RECORD=$LOG COLOFS_RECORD_SOURCE=$BS "$BUILD/crash/colofs" -f "$BS" "$B" -o \
		"listen=127.0.0.1:$PEER_PORT,tls=$T/certs/b,peer-name=a,journal-size=16M,overlay-size=16M${1:+,$1}" \
		>>"$T/b.log" 2>&1 {TICK}>&- &
	wait_for 20 test -e "$B/.colo/status" || fail "no backup: $(tail -n 3 "$T/b.log")"
}
# Nothing of it is on its way to the disk any more: no epoch waits for its place in the images, and the log stands still.
backup_quiet() {
	local size
	status_is "$B" '.journal.sealed == 0' || return 1
	size=$(stat -c %s "$LOG")
	tick 0.3
	[ "$size" = "$(stat -c %s "$LOG")" ]
}
resynced() { # the sync has ended by a commit of its own
	wait_protected
	crash-load mark "$LOG" "synced $(status "$A" .epoch.committed)"
}
# Made once for all that is recorded in a log: the images, the pair, their first sync.
record_begin() {
	crash-load init "$LOG" "$AS"
	crash-load mark "$LOG" sync
	start_recorded role=backup
	start_primary link-timeout=2s
	resynced
}
