#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# More is missing on the backup than its journal can hold. Nothing is sent before somebody chooses; status gives both sizes and
# the ways out. `resync in-place` sends it in parts: until its end the backup serves nobody and is not promoted, over a cut
# link and a kill of either node; what a part brought is not sent again; and in the end both copies are what the guest wrote.
. "$(dirname "$0")/../lib.sh" || exit 1
IMAGE_MB=96
. "$TESTS/lib-scenes.sh"

DIRTY=$((40 << 20)) JOURNAL=$((16 << 20))
sent() {
	metric "$A" sync_sent_bytes_total
}
sent_more() { # BYTES SINCE
	[ $(($(sent) - $2)) -ge "$1" ]
}
not_served() { # the backup is in the middle of it
	status "$B" '.images[].state' | grep -qx consistent && fail "an image is consistent: $(status "$B" .images)"
	must_fail cat "$B/disk.img"
	assert_match "$OUT" "*Resource temporarily unavailable*"
	assert_match "$(cat "$B/.colo/status")" "*no failover, unless by force*A resync in-place has not come to its end*"
}
parted() { # a part is committed there
	status "$B" '[.images[].state] | unique | .[]' | grep -qv '^consistent'
}

scene_pair "" journal-size=16M
flush "$A"
epoch=$(reply_value epoch)
kept_as committed
cable_out
told "$A" disk.img 0 $((DIRTY / 4096))
cable_in

# The choice, before it is made
wait_for 30 status_is "$A" '.reason | test("does not fit")' || fail "$(status "$A" .)"
assert_match "$(status "$A" .reason)" "what the peer lacks (* bytes) does not fit its journal ($((JOURNAL / 8 * 7)) bytes)*"
assert_match "$(cat "$A/.colo/status")" '*larger journal-size*`resync in-place`*inconsistent, and cannot take over, until its end*'
ctl_fails "$A" flush ENOSPC
ctl_fails "$A" "resync in-place now" EINVAL
ctl_fails "$B" "resync in-place" EPERM
is_kept "$B" "$T/kept.committed"

# Not under a guest of the backup's
exec 5<"$B/disk.img"
ctl_fails "$A" "resync in-place" EBUSY
exec 5<&-
is_kept "$B" "$T/kept.committed"
assert_eq "$(status "$B" .epoch.committed)" "$epoch" "the backup's epoch"

# Cut in the middle
ctl "$A" "set resync-rate 8M" || fail "$REPLY_LINE"
before=$(sent)
echo "resync in-place" >"$A/.colo/ctl" 2>"$T/ordered" &
wait_for 30 sent_more $((12 << 20)) "$before" || fail "no resync: $(status "$A" .)"
wait_for 30 parted || fail "no part: $(status "$B" .)"
not_served
write_mb "$A" 44 2 100 # mirrored
cable_out
wait $! && fail "the resync that was cut said done"
assert_match "$(cat "$T/ordered")" "*not connected*"
not_served
ctl_fails "$B" failover ESTALE
assert_match "$REPLY_LINE" "*resync in-place has not come to its end*"

# The backup is killed; it knows
kill9 "$B"
up "$B" backup journal-size=16M
not_served
ctl_fails "$B" failover ESTALE

# It goes on by itself, and only with what is missing
cut=$(sent)
cable_in
wait_for 30 sent_more $((8 << 20)) "$cut" || fail "it does not go on: $(status "$A" .)"
assert_match "$(status "$A" .reason)" "a resync in-place goes on*"

# The primary is killed
kill9 "$A"
not_served
up "$A" primary
wait_protected 60
say "$((cut - before)) bytes sent until the cut, $(sent) behind the primary's end"
assert_less $((cut - before + $(sent))) $((DIRTY + (24 << 20))) "bytes sent in all: what parts brought is not sent again"
assert_eq "$(status "$B" '[.images[].state] | unique | join(",")')" consistent "the images in the end"
end_equal "$A" "$B"
