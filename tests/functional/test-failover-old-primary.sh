#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# An old primary that comes back and meets its promoted peer is refused; neither copy is changed.
. "$(dirname "$0")/../lib.sh" || exit 1
require_root

random_file "$AS/disk.img" 3000000
pair_up
flush "$A"
dd if=/dev/urandom of="$A/disk.img" bs=64k count=2 conv=notrunc,fsync status=none
kill9 "$A"
wait_status "$B" '.link.state != "up"' 30
failover "$B"
dd if=/dev/urandom of="$B/disk.img" bs=64k seek=5 count=2 conv=notrunc,fsync status=none
old=$(sum "$AS/disk.img") new=$(sum "$B/disk.img")
if start_primary 2>"$T/err"; then
	wait_status "$A" '(.last_error.text // "") + .reason | test("ESTALE|newer|promoted|split|generation"; "i")' 30
	assert_eq "$(status "$A" .protected)" false "protected"
else
	grep -qiE 'ESTALE|newer|promoted|split|generation' "$T/err" || fail "mount says: $(cat "$T/err")"
fi
assert_eq "$(sum "$B/disk.img")" "$new" "the promoted copy"
assert_eq "$(sum "$AS/disk.img")" "$old" "the old copy"
assert_eq "$(status "$B" .role)" primary "role of the promoted node"
