#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# The backup's own writes go to its overlay: seen there at once, never on the primary, gone with the next
# commit and with umount.
. "$(dirname "$0")/../lib.sh" || exit 1
require_root

random_file "$AS/disk.img" $((4 << 20))
pair_up
cp "$A/disk.img" "$T/committed"
cp "$B/disk.img" "$T/mine"
random_file "$T/data" 200000
for ((i = 0; i < 20; i++)); do
	for f in "$B/disk.img" "$T/mine"; do
		dd if="$T/data" of="$f" bs=7001 skip=$i seek=$((i * 20)) count=1 conv=notrunc status=none
	done
done
dd if="$T/data" of="$B/disk.img" bs=512 seek=4000 count=3 oflag=direct conv=notrunc status=none
dd if="$T/data" of="$T/mine" bs=512 seek=4000 count=3 conv=notrunc status=none
fallocate -p -o 1000000 -l 54321 "$B/disk.img"
fallocate -p -o 1000000 -l 54321 "$T/mine"
assert_same "$B/disk.img" "$T/mine"
dd if="$B/disk.img" iflag=direct bs=64k status=none | cmp - "$T/mine" || fail "direct reads of the overlay"
[ "$(status "$B" .overlay.bytes)" -gt 0 ] || fail "the overlay counts nothing"
assert_same "$A/disk.img" "$T/committed"
dd if="$T/data" of="$A/disk.img" bs=4k seek=900 count=2 conv=notrunc status=none
assert_same "$B/disk.img" "$T/mine"
flush "$A"
assert_same "$B/disk.img" "$A/disk.img"
assert_eq "$(status "$B" .overlay.bytes)" 0 "overlay after a commit"

dd if="$T/data" of="$B/disk.img" bs=4k count=2 conv=notrunc status=none
stop "$B"
assert_same "$BS/disk.img" "$A/disk.img"
