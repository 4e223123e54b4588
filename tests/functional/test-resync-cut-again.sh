#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# A resync that is cut, again and again: the backup has its epoch, whole, until the one that comes to its end is committed;
# what was written meanwhile and what each cut left undone is all there then. What a cut sync has sent is not sent again:
# the backup keeps it, and the next session compares.
. "$(dirname "$0")/../lib.sh" || exit 1
. "$TESTS/lib-scenes.sh"

CUTS=2 DIRTY=$((8 << 20)) MORE=$((1 << 20)) PART=$((5 << 19))
sent() {
	metric "$A" sync_sent_bytes_total
}
sent_more() { # BYTES SINCE
	[ $(($(sent) - $2)) -ge "$1" ]
}
dirty() {
	status "$A" '[.images[].dirty_bytes] | add'
}

scene_pair
ctl "$A" "set resync-rate 4M" || fail "$REPLY_LINE" # so slow that none is sent whole into the cut
flush "$A"
epoch=$(reply_value epoch)
kept_as committed
cable_out
write_mb "$A" 4 8 1500
start=$(sent)
for ((i = 0; i < CUTS; i++)); do
	before=$(sent)
	cable_in
	wait_for 30 sent_more "$PART" "$before" || fail "no sync: $(status "$A" .)"
	assert_eq "$(status "$A" .link.state)" syncing
	write_mb "$A" $((12 + i)) 1 50 # mirrored, and cut off too
	cable_out
	write_mb "$A" $((12 + i)) 1 50
	say "cut $i: $(($(sent) - before)) bytes sent, $(dirty) dirty"
	[ "$(dirty)" -ge "$DIRTY" ] && [ "$(dirty)" -le $((DIRTY + (i + 1) * MORE)) ] || fail "$(dirty) bytes dirty"
	assert_eq "$(status "$B" .epoch.committed)" "$epoch" "the backup's epoch"
	is_kept "$B" "$T/kept.committed"
done
ctl "$A" "set resync-rate 0" || fail "$REPLY_LINE"
before=$(sent)
cable_in
wait_protected
say "$(($(sent) - before)) bytes sent at last, $(($(sent) - start)) in all"
[ "$(metric "$B" sync_kept_bytes_total)" -ge "$PART" ] || fail "kept: $(metric "$B" sync_kept_bytes_total) bytes"
assert_less $(($(sent) - before)) $((DIRTY + CUTS * MORE - PART)) "bytes sent at last: none of what the cut ones had sent"
assert_eq "$(dirty)" 0 "dirty bytes in the end"
end_equal "$A" "$B"
