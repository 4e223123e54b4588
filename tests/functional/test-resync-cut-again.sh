#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# A resync that is cut, again and again: the backup has its epoch, whole, until the one that comes to its end is committed;
# what was written meanwhile and what each cut left undone is all there then. What the backup had received of an unfinished
# epoch is dropped with its session, so each begins with all that is dirty: that, and not more, is what is sent each time.
. "$(dirname "$0")/../lib.sh" || exit 1
. "$TESTS/lib-scenes.sh"

CUTS=2 DIRTY=$((6 << 20)) MORE=$((1 << 20))
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
ctl "$A" "set resync-rate 1M" || fail "$REPLY_LINE" # so slow that none is sent whole into the cut
flush "$A"
epoch=$(reply_value epoch)
kept_as committed
cable_out
write_mb "$A" 4 6 1500
for ((i = 0; i < CUTS; i++)); do
	before=$(sent)
	cable_in
	wait_for 30 sent_more $((1 << 19)) "$before" || fail "no sync: $(status "$A" .)"
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
say "$(($(sent) - before)) bytes sent at last"
assert_less $(($(sent) - before)) $((DIRTY + CUTS * MORE + 1)) "bytes sent by the one that came to its end"
assert_eq "$(dirty)" 0 "dirty bytes in the end"
end_equal "$A" "$B"
