#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# On the backup nothing that was not flushed is seen; a flush shows all of it, on all images, at once.
. "$(dirname "$0")/../lib.sh" || exit 1
require_root

random_file "$AS/one.img" $((8 << 20))
random_file "$AS/two.img" $((8 << 20))
pair_up
one=$(sum "$B/one.img")
for ((i = 0; i < 30; i++)); do
	dd if=/dev/urandom of="$A/one.img" bs=4k seek=$((i * 67)) count=3 conv=notrunc,fsync status=none
	dd if=/dev/urandom of="$A/two.img" bs=512 seek=$((i * 501)) count=1 oflag=direct conv=notrunc status=none
done
fallocate -p -o 1000000 -l 300000 "$A/two.img"
wait_status "$A" '.pending.bytes == 0'
assert_eq "$(sum "$B/one.img")" "$one" "the backup before the flush"
flush "$A" first-checkpoint
epoch=$(reply_value epoch)
assert_match "$REPLY_LINE" "done epoch=* name=first-checkpoint bytes=* ms=*" "reply"
assert_eq "$(status "$B" .epoch.committed)" "$epoch" "epoch on the backup"
assert_eq "$(status "$B" .epoch.name)" first-checkpoint "name of the epoch"
assert_same "$A/one.img" "$B/one.img"
assert_same "$A/two.img" "$B/two.img"
flush "$A"
[ "$(reply_value epoch)" -gt "$epoch" ] || fail "an empty flush commits no new epoch"
[ "$(metric "$B" journal_fdatasyncs_total)" -ge 2 ] || fail "fewer fdatasyncs than flushes"
