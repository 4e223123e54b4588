#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# An old primary that was only cut off, and whose guest still has an image open, meets its promoted peer: its guest gets
# EIO, neither copy is changed, and it stays the primary of nothing until the image is closed and discard-local says so.
# One mounted as backup joins too, but not a primary whose peer was not promoted.
. "$(dirname "$0")/../lib.sh" || exit 1
. "$TESTS/lib-scenes.sh"

scene_pair
write_mb "$A" 1 2 100
flush "$A"
kept_as old
exec {guest}<>"$A/disk.img"
KEPT=$T/kept.old told "$A" disk.img 300 32 # mirrored, never committed
cable_out
failover "$B"
write_mb "$B" 2 3 200
told "$B" two.img 5 32
cable_in
wait_status "$A" '.mode == "failed"'
assert_match "$(status "$A" .reason)" "*ESTALE*discard-local*"
must_fail dd if=/dev/zero of="$A/disk.img" bs=4k count=1 conv=notrunc status=none
assert_match "$OUT" "*Input/output error*"
is_kept "$B"
is_kept "$AS" "$T/kept.old"
ctl_fails "$A" discard-local EBUSY
exec {guest}>&-
ctl "$A" discard-local || fail "$REPLY_LINE"
assert_eq "$(status "$A" .role)" backup
wait_status "$B" .protected
is_kept "$A"
is_kept "$B"

say "mounted as a backup while its peer is the backup: refused"
stop "$B" "$A"
up "$A" primary # in SOURCE it is a backup: it says so, and waits
up "$B" primary
wait_status "$B" .protected
ctl "$B" switchover || fail "$REPLY_LINE"
wait_protected
told "$A" two.img 100 3
flush "$A"
stop "$A"
must_fail up "$A" backup
assert_match "$OUT" "*switchover*discard-local*"

say "mounted as a backup once its peer was promoted: it joins"
is_kept "$AS"
failover "$B"
up "$A" backup
assert_eq "$(status "$A" .role)" backup
wait_status "$B" .protected
end_equal "$B" "$A"
