#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# An old primary that was only cut off, and whose guest still has an image open, meets its promoted peer: its guest gets
# EIO, neither copy is changed, and it stays the primary of nothing until the image is closed and discard-local says so.
# One mounted as backup joins too, but not a primary whose peer was not promoted.
. "$(dirname "$0")/../lib.sh" || exit 1
require_root
private_network "$@"

random_file "$AS/disk.img" 3000000
pair_up link-timeout=1s link-timeout=1s
flush "$A"
exec {guest}<>"$A/disk.img"
dd if=/dev/urandom of="$A/disk.img" bs=64k count=2 conv=notrunc,fsync status=none
cut_link
wait_status "$A" '.mode == "unprotected"'
wait_status "$B" '.link.state != "up"'
failover "$B"
dd if=/dev/urandom of="$B/disk.img" bs=64k seek=5 count=2 conv=notrunc,fsync status=none
old=$(sum "$AS/disk.img") new=$(sum "$B/disk.img")
heal_link
wait_status "$A" '.mode == "failed"'
assert_match "$(status "$A" .reason)" "*ESTALE*discard-local*"
must_fail dd if=/dev/zero of="$A/disk.img" bs=4k count=1 conv=notrunc status=none
assert_eq "$(sum "$B/disk.img")" "$new" "the promoted copy"
assert_eq "$(sum "$AS/disk.img")" "$old" "the old copy"
ctl_fails "$A" discard-local EBUSY
exec {guest}>&-
ctl "$A" discard-local || fail "$REPLY_LINE"
assert_eq "$(status "$A" .role)" backup
wait_status "$B" .protected
assert_eq "$(sum "$A/disk.img")" "$new" "the old primary's copy, level"

say "mounted as a backup while its peer is the backup: refused"
stop "$B" "$A"
start_primary link-timeout=1s
colofs_mount "$BS" "$B" "role=primary,listen=127.0.0.1:$PEER_PORT,tls=$T/certs/b,peer-name=a"
wait_status "$B" .protected
ctl "$B" switchover || fail "$REPLY_LINE"
wait_protected
stop "$A"
must_fail colofs_mount "$AS" "$A" "role=backup,peer=127.0.0.1:$PEER_PORT,tls=$T/certs/a"
assert_match "$OUT" "*switchover*discard-local*"

say "mounted as a backup once its peer was promoted: it joins"
failover "$B"
colofs_mount "$AS" "$A" "role=backup,peer=127.0.0.1:$PEER_PORT,tls=$T/certs/a"
assert_eq "$(status "$A" .role)" backup
wait_status "$B" .protected
assert_same "$A/disk.img" "$B/disk.img"
