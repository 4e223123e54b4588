#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# The primary dies; failover makes the backup writable with the last flush plus its own overlay, and says what
# was lost. What it then writes survives its own crash.
. "$(dirname "$0")/../lib.sh" || exit 1
require_root

random_file "$AS/one.img" $((8 << 20))
random_file "$AS/two.img" 777777
pair_up
dd if=/dev/urandom of="$A/one.img" bs=1M count=2 seek=1 conv=notrunc status=none
flush "$A" last
epoch=$(reply_value epoch)
cp "$A/one.img" "$T/one"
cp "$A/two.img" "$T/two"
dd if=/dev/urandom of="$A/one.img" bs=1M count=3 seek=3 conv=notrunc status=none
: >"$A/never-committed"
wait_status "$A" '.pending.bytes == 0'
random_file "$T/data" 300000
for f in "$B/one.img" "$T/one"; do
	dd if="$T/data" of="$f" bs=999 seek=77 conv=notrunc status=none
done
kill9 "$A"
wait_status "$B" '.link.state != "up"' 30
failover "$B"
assert_eq "$(reply_value epoch)" "$epoch" "epoch taken ($REPLY_LINE)"
[ "$(reply_value lost_bytes)" -gt 0 ] || fail "nothing lost, it says: $REPLY_LINE"
assert_eq "$(status "$B" .role)" primary role
assert_eq "$(status "$B" .mode)" unprotected mode
assert_same "$B/one.img" "$T/one"
assert_same "$B/two.img" "$T/two"
[ ! -e "$B/never-committed" ] || fail "an uncommitted name appeared"
for f in "$B/one.img" "$T/one"; do
	dd if="$T/data" of="$f" bs=4k seek=1000 count=9 conv=notrunc,fsync status=none
	fallocate -p -o 2000000 -l 100000 "$f"
done
sync -d "$B/one.img"
kill9 "$B"
colofs_mount "$BS" "$B"
assert_eq "$(status "$B" .role)" primary "role after a crash"
assert_same "$B/one.img" "$T/one"
stop "$B"
assert_same "$BS/one.img" "$T/one"
assert_same "$BS/two.img" "$T/two"
