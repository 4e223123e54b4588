#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Both nodes promoted while the cable is out: the backup by failover, the crashed primary by start-alone. The cable back, both
# refuse and say the same of each other; a restart does not get around it; discard-local on one of them, here the one that
# failed over, heals. Each copy is meanwhile what its own guest wrote.
. "$(dirname "$0")/../lib.sh" || exit 1
. "$TESTS/lib-scenes.sh"

said() { # MNT: "OWN-GENERATION OWN-BYTES OTHER-GENERATION OTHER-BYTES"
	local side='([0-9a-f]{16}), epoch [0-9]+( or later)?, (at most )?([0-9]+) bytes'
	status "$1" .last_error.text | sed -nE "s/^.*here generation $side.* there $side.*\$/\1 \4 \5 \8/p"
}
both_refuse() {
	local m here here_bytes there there_bytes
	for m in "$A" "$B"; do
		wait_status "$m" '.last_error.text // "" | test("split brain.*discard-local")'
	done
	read -r here here_bytes there there_bytes <<<"$(said "$A")"
	assert_eq "$here $there" "$(status "$A" .generation) $(status "$B" .generation)" "the generations that node a names"
	assert_eq "$(said "$B")" "$there $there_bytes $here $here_bytes" "what node b says of both, turned round"
	[ "$here_bytes" -gt 0 ] || fail "node a would lose nothing, it says"
	[ "$there_bytes" -gt 0 ] && [ "$there_bytes" -le $((1 << 20)) ] || fail "node b would lose $there_bytes bytes, 1 MiB was written"
	assert_eq "$(status "$A" .role) $(status "$B" .role)" "primary primary"
}

scene_pair
write_mb "$A" 1 2 200
flush "$A"
cable_out
kill9 "$A"
failover "$B"
kept_as b
KEPT=$T/kept.b write_mb "$B" 3 1 200
up "$A" primary start-alone
write_mb "$A" 2 3 200
write_mb "$A" 0 2 50 two.img
cable_in
both_refuse
is_kept "$A"
is_kept "$B" "$T/kept.b"

say "a restart does not get around it"
stop "$A"
must_fail up "$A" primary
assert_match "$OUT" "*split brain*discard-local*start-alone*"
up "$A" primary start-alone
both_refuse
is_kept "$A"
is_kept "$B" "$T/kept.b"

say "one is discarded"
ctl "$B" discard-local || fail "$REPLY_LINE"
wait_protected
assert_eq "$(status "$A" .role) $(status "$B" .role)" "primary backup"
is_kept "$B"
write_mb "$A" 3 4 200
end_equal "$A" "$B"
