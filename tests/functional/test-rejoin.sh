#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Fails over and comes back: the old primary finds its peer promoted and joins it as backup by itself, whatever its
# fstab says; what it had written and the peer never committed is undone there; it is not served, nor promoted without
# force, before it is level. Then it is swapped back.
. "$(dirname "$0")/../lib.sh" || exit 1
require_root

random_file "$AS/one.img" 3000001
truncate -s 2G "$AS/large.img"
random_file "$AS/two.img" 1000000
pair_up
flush "$A"
cp "$A/one.img" "$T/committed"
dd if=/dev/urandom of="$A/one.img" bs=4k count=50 seek=3 conv=notrunc,fsync status=none # lost by the failover
dd if=/dev/urandom of="$A/lost.img" bs=1k count=50 status=none
kill9 "$A"
wait_status "$B" '.link.state != "up"'
failover "$B"
assert_same "$B/one.img" "$T/committed"
dd if=/dev/urandom of="$B/two.img" bs=4k count=9 seek=7 conv=notrunc,fsync status=none
dd if=/dev/urandom of="$B/new.img" bs=1k count=70 status=none

say "by itself, although it is mounted with role=primary"
start_primary
assert_eq "$(status "$A" .role)" backup "the old primary's role"
wait_status "$B" .protected 60
looked=$(($(metric "$B" sync_hashed_bytes_total) + $(metric "$B" sync_skipped_bytes_total)))
assert_less "$looked" $((20 << 20)) "bytes looked at: what either wrote, in extents of 64 MiB; large.img is not of it"
wait_status "$A" '.images | all(.state == "consistent")'
[ ! -e "$A/lost.img" ] || fail "an image that was never committed is still there"
for f in one.img two.img new.img; do
	assert_same "$A/$f" "$B/$f"
done
assert_same "$A/one.img" "$T/committed"
ctl_fails "$A" flush EPERM
flush "$B"

say "a crash of the new backup, and of the new primary"
kill9 "$A"
start_primary
assert_eq "$(status "$A" .role)" backup "the old primary's role, after a crash"
wait_status "$B" .protected
dd if=/dev/urandom of="$B/one.img" bs=4k count=9 seek=17 conv=notrunc,fsync status=none
kill9 "$B"
colofs_mount "$BS" "$B" "role=primary,listen=127.0.0.1:$PEER_PORT,tls=$T/certs/b,peer-name=a"
wait_status "$B" .protected 60
assert_same "$A/one.img" "$B/one.img"

say "and back"
ctl "$B" switchover || fail "$REPLY_LINE"
wait_protected
assert_eq "$(status "$A" .role) $(status "$B" .role)" "primary backup"
dd if=/dev/urandom of="$A/one.img" bs=4k count=9 seek=170 conv=notrunc,fsync status=none
flush "$A"
assert_same "$A/one.img" "$B/one.img"
