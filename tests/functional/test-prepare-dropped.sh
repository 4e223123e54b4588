#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# failover without keep-prepared drops the prepared epoch, for good: a crash behind it does not bring it back.
. "$(dirname "$0")/../lib.sh" || exit 1
require_root

random_file "$AS/disk.img" 2000000
pair_up
flush "$A"
cp "$A/disk.img" "$T/committed"
dd if=/dev/urandom of="$A/disk.img" bs=4k count=50 conv=notrunc,fsync status=none
ctl "$A" prepare || fail "$REPLY_LINE"
kill9 "$A"
wait_status "$B" '.link.state != "up"'
failover "$B"
assert_eq "$(reply_value lost_bytes)" $((50 * 4096)) "what the failover said it drops"
assert_same "$B/disk.img" "$T/committed"
kill9 "$B"
colofs_mount "$BS" "$B" "role=primary,listen=127.0.0.1:$PEER_PORT,tls=$T/certs/b,peer-name=a"
assert_same "$B/disk.img" "$T/committed"
stop "$B"
assert_same "$BS/disk.img" "$T/committed"
