#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# failover drop-overlay takes exactly the epoch; epoch=N takes that one or none.
. "$(dirname "$0")/../lib.sh" || exit 1
require_root

random_file "$AS/disk.img" 2000000
pair_up
flush "$A"
epoch=$(reply_value epoch)
cp "$A/disk.img" "$T/disk"
dd if=/dev/urandom of="$B/disk.img" bs=64k count=3 conv=notrunc status=none
kill9 "$A"
wait_status "$B" '.link.state != "up"' 30
ctl_fails "$B" "failover epoch=$((epoch + 1))" ESTALE
assert_match "$REPLY_LINE" "*$epoch*" "the reason names the epoch"
assert_eq "$(status "$B" .role)" backup "role after a refusal"
failover "$B" "epoch=$epoch drop-overlay"
assert_same "$B/disk.img" "$T/disk"
