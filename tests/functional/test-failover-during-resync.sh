#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# The primary dies in the middle of a resync: the backup is then, and after its failover, exactly at the last committed epoch.
# The old primary, which was written alone, is discarded, joins, and gets its role back by a switchover: failed back.
. "$(dirname "$0")/../lib.sh" || exit 1
. "$TESTS/lib-scenes.sh"

sent_some() {
	[ "$(metric "$A" sync_sent_bytes_total)" -gt $(($1 + (2 << 20))) ]
}

scene_pair
ctl "$A" "set resync-rate 4M" || fail "$REPLY_LINE"
write_mb "$A" 4 4 300
write_mb "$A" 0 2 100 two.img
flush "$A"
epoch=$(reply_value epoch)
kept_as committed
cable_out
write_mb "$A" 4 12 2500
write_mb "$A" 0 2 300 two.img
sent=$(metric "$A" sync_sent_bytes_total)
cable_in
wait_for 30 sent_some "$sent" || fail "no sync"
is_kept "$B" "$T/kept.committed"
assert_eq "$(status "$A" .link.state)" syncing
kill9 "$A"
wait_status "$B" '.link.state != "up"'
failover "$B" "epoch=$epoch"
assert_eq "$(reply_value epoch)" "$epoch" "the epoch taken"
is_kept "$B" "$T/kept.committed"

say "failed back"
rm -rf "$KEPT" && mv "$T/kept.committed" "$KEPT" # what counts from here on
write_mb "$B" 2 8 400
must_fail up "$A" primary
assert_match "$OUT" "*split brain*"
up "$A" primary start-alone
ctl "$A" discard-local || fail "$REPLY_LINE"
wait_status "$B" .protected
is_kept "$A"
is_kept "$B"
exec {guest}<>"$B/two.img"
ctl_fails "$B" switchover EBUSY
exec {guest}>&-
ctl "$B" switchover || fail "$REPLY_LINE"
wait_protected
is_kept "$A"
write_mb "$A" 6 4 200
end_equal "$A" "$B"
