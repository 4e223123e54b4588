#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Fails over and comes back: the old primary finds its peer promoted and joins it as backup by itself, whatever its
# fstab says; what it had written and the peer never committed is undone there; it is not served, nor promoted without
# force, before it is level. Then it is swapped back.
. "$(dirname "$0")/../lib.sh" || exit 1
. "$TESTS/lib-scenes.sh"
require_root

random_file "$AS/one.img" 3000001
truncate -s 2G "$AS/large.img"
random_file "$AS/two.img" 1000000
mkdir "$KEPT"
cp "$AS"/*.img "$KEPT"
pair_up
told "$A" two.img 100 9
flush "$A"
dd if=/dev/urandom of="$A/one.img" bs=4k count=50 seek=3 conv=notrunc,fsync status=none # lost by the failover
dd if=/dev/urandom of="$A/lost.img" bs=1k count=50 status=none
kill9 "$A"
wait_status "$B" '.link.state != "up"'
failover "$B"
is_kept "$B"
told "$B" two.img 7 9
told "$B" new.img 0 17

say "by itself, although it is mounted with role=primary"
start_primary
assert_eq "$(status "$A" .role)" backup "the old primary's role"
wait_status "$B" .protected 60
looked=$(($(metric "$B" sync_hashed_bytes_total) + $(metric "$B" sync_skipped_bytes_total)))
assert_less "$looked" $((20 << 20)) "bytes looked at: what either wrote, in extents of 64 MiB; large.img is not of it"
wait_status "$A" '.images | all(.state == "consistent")'
is_kept "$A" # an image that was never committed is there no more
is_kept "$B"
ctl_fails "$A" flush EPERM
flush "$B"

say "a crash of the new backup, and of the new primary"
kill9 "$A"
start_primary
assert_eq "$(status "$A" .role)" backup "the old primary's role, after a crash"
wait_status "$B" .protected
told "$B" one.img 17 9
kill9 "$B"
colofs_mount "$BS" "$B" "role=primary,listen=127.0.0.1:$PEER_PORT,tls=$T/certs/b,peer-name=a"
wait_status "$B" .protected 60
is_kept "$A"
is_kept "$B"

say "and back"
ctl "$B" switchover || fail "$REPLY_LINE"
wait_protected
assert_eq "$(status "$A" .role) $(status "$B" .role)" "primary backup"
told "$A" one.img 170 9
end_equal "$A" "$B"
