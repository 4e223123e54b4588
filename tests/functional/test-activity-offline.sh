#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# After a clean end only what the map names is compared; an image that somebody changed meanwhile, past colofs, is compared
# wholly, so that both copies are equal again.
. "$(dirname "$0")/../lib.sh" || exit 1
require_root

SIZE=$((128 << 20))
random_file "$AS/disk.img" "$SIZE"
random_file "$AS/other.img" "$SIZE"
pair_up
flush "$A"
dd if=/dev/urandom of="$A/disk.img" bs=64k count=1 conv=notrunc status=none
stop "$A"
start_primary
wait_protected
assert_eq "$(metric "$A" sync_hashed_bytes_total)" $((SIZE / 2)) "bytes compared after a clean end"
assert_same "$A/disk.img" "$B/disk.img"
stop "$A"
dd if=/dev/urandom of="$AS/other.img" bs=64k count=1 seek=900 conv=notrunc status=none
start_primary
wait_protected
assert_same "$A/other.img" "$B/other.img"
assert_same "$A/disk.img" "$B/disk.img"
[ "$(metric "$A" sync_hashed_bytes_total)" -ge "$SIZE" ] || fail "the image that was changed is not compared wholly"
assert_less "$(metric "$A" sync_hashed_bytes_total)" $((2 * SIZE)) "bytes compared after one of two was changed"

# Mounted without its peer it keeps no map: then everything counts as changed.
stop "$A"
colofs_mount "$AS" "$A" role=unprotected
dd if=/dev/urandom of="$A/other.img" bs=64k count=1 seek=5 conv=notrunc status=none
stop "$A"
start_primary
wait_protected
assert_same "$A/other.img" "$B/other.img"
