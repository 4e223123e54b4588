#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# The primary is killed under load: the backup keeps its epoch, and the primary, started again, compares the active extent and
# sends no more of it than was written. Both are then what the guest was told, but for what was under way when it died.
. "$(dirname "$0")/../lib.sh" || exit 1
IMAGE_MB=128
. "$TESTS/lib-scenes.sh"

EXTENT_MB=64
scene_setup
rm "$AS/disk.img" # most of it a hole: it is about one extent
truncate -s ${IMAGE_MB}M "$AS/disk.img"
for at in 4 $((EXTENT_MB + 14)); do
	dd if=/dev/urandom of="$AS/disk.img" bs=1M seek="$at" count=8 conv=notrunc status=none
done
cp "$AS/disk.img" "$KEPT"
up "$B" backup
up "$A" primary
wait_protected
write_mb "$A" $((EXTENT_MB + 16)) 4 500
flush "$A"
epoch=$(reply_value epoch)
kept_as flushed
keeper write "$A/disk.img" "$KEPT/disk.img" $(((EXTENT_MB + 16) << 20)) $((4 << 20)) 0 >"$T/keeper.log" 2>&1 {TICK}>&- &
guest=$!
wait_status "$A" '.uncommitted.writes > 500'
kill9 "$A"
! wait "$guest" || fail "the guest saw no error: $(cat "$T/keeper.log")"
wait_status "$B" '.link.state != "up"'
assert_eq "$(status "$B" .epoch.committed)" "$epoch" "the backup's epoch"
is_kept "$B" "$T/kept.flushed"
up "$A" primary
wait_protected
assert_eq "$(metric "$A" sync_hashed_bytes_total)" $((8 << 20)) "bytes compared, those of the extent's that are no hole"
assert_less "$(metric "$A" sync_sent_bytes_total)" $(((4 << 20) + 1)) "bytes sent"
is_kept "$A"
is_kept "$B"
write_mb "$A" 4 4 100
end_equal "$A" "$B"
