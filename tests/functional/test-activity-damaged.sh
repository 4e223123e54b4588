#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# An activity map that is damaged, missing or of another time is not believed: after a crash everything is compared.
. "$(dirname "$0")/../lib.sh" || exit 1
require_root

SIZE=$((128 << 20))
random_file "$AS/disk.img" "$SIZE"
map() {
	echo "$AS"/.colofs/journal/*/a0
}
crash() { # one write behind the map's back: it is in the map, and on no other list
	dd if=/dev/urandom of="$A/disk.img" bs=64k count=1 seek="$1" conv=notrunc,fsync status=none
	kill9 "$A"
}
compared_in_full() { # WHAT
	start_primary
	wait_protected
	assert_eq "$(metric "$A" sync_hashed_bytes_total)" "$SIZE" "bytes compared with a map that is $1"
	assert_same "$A/disk.img" "$B/disk.img"
	wait_for 10 status_is "$A" '.protected'
}
pair_up
flush "$A"
crash 3
start_primary
wait_protected
assert_less "$(metric "$A" sync_hashed_bytes_total)" $((SIZE / 2 + 1)) "bytes compared with a sound map"

crash 700
printf '\125' | dd of="$(map)" bs=1 seek=100 conv=notrunc status=none
compared_in_full damaged
crash 701
dd if=/dev/zero of="$(map)" bs=512 count=1 seek=1280 conv=notrunc status=none
compared_in_full "blank in one sector"
cp "$(map)" "$T/old"
crash 702
rm "$(map)"
compared_in_full missing
crash 703
cp "$T/old" "$(map)"
compared_in_full "of another time"
crash 704
truncate -s 4096 "$(map)"
compared_in_full "cut off"
