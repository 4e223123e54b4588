#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# SOURCE is copied with its .colofs while its node runs, and the copy is mounted as well: two primaries with one node id. By
# the id each is the other's newer link, so they take turns. All three nodes say what it is, and the turns are bounded; when
# the copy is gone the pair is as it was.
. "$(dirname "$0")/../lib.sh" || exit 1
require_root

random_file "$AS/disk.img" 1000000
pair_up link-timeout=2s link-timeout=2s
flush "$A"
C=$T/c
mkdir "$C"
cp -a "$AS" "$C.src"
colofs_mount "$C.src" "$C" "role=primary,peer=127.0.0.1:$PEER_PORT,tls=$T/certs/a,link-timeout=2s"
says_so() { # MNT
	status_is "$1" '.advice != null and (.advice | test("same id take turns.*copied with its .colofs"))'
}
ahead() { # the copy's epochs are beyond all that the original has ordered: the backup is no copy of the original's any more
	status_is "$A" '.last_error.text // "" | test("never ordered")'
}
turns_or_ahead() {
	says_so "$A" && { ahead || { says_so "$B" && says_so "$C"; }; }
}
say "each says so"
wait_for 60 turns_or_ahead || fail "$(status "$A" .) $(status "$B" .) $(status "$C" .)"
assert_eq "$(metric "$A" guest_errors_total)" 0 "errors of the guest"
if ahead; then
	say "the copy was ahead before the original came back: that one is refused, and says why"
	exit 0
fi
grep -q "same id" "$B/.colo/status" || fail "$(cat "$B/.colo/status")"
grew() { # by four more sessions
	[ "$(metric "$B" link_connects_total)" -ge $((connects + 4)) ]
}
connects=$(metric "$B" link_connects_total) t0=$(now_ms)
wait_for 60 grew || fail "they do not take turns any more"
took=$(($(now_ms) - t0))
say "4 turns in $took ms"
[ "$took" -ge 4000 ] || fail "four turns took only $took ms"
assert_eq "$(metric "$A" guest_errors_total)" 0 "errors of the guest"

say "the copy goes"
stop "$C"
wait_protected
ctl "$A" "resync full" || fail "$REPLY_LINE"
flush "$A"
assert_same "$A/disk.img" "$B/disk.img"
