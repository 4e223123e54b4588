#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# resync-rate bounds what a sync sends, guests' writes are not slowed down by it, and `set` changes it at once.
. "$(dirname "$0")/../lib.sh" || exit 1
require_root

random_file "$AS/disk.img" 64000000
start_backup
before=$(now_ms)
start_primary resync-rate=2M
sent() {
	metric "$A" sync_sent_bytes_total
}
some_sent() {
	[ "$(sent)" -gt 3000000 ]
}
wait_for 30 some_sent || fail "the sync does not run"
bytes=$(sent)
assert_less "$bytes" $((((($(now_ms) - before)) * 2 * 1048576) / 1000 + 1000000)) "bytes sent in that time at 2M a second"
assert_eq "$(status "$A" '.link.state')" syncing
dd if=/dev/urandom of="$A/disk.img" bs=1M count=20 conv=notrunc oflag=direct status=none
[ "$(sent)" -lt 60000000 ] || fail "the sync ended meanwhile"
ctl "$A" "set resync-rate 0" || fail "$REPLY_LINE"
wait_protected 60
flush "$A"
assert_same "$B/disk.img" "$A/disk.img"
