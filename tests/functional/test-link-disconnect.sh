#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# disconnect drops the link and stays apart; connect allows it again.
. "$(dirname "$0")/../lib.sh" || exit 1
require_root

random_file "$AS/disk.img" 5000000
pair_up
ctl "$A" disconnect || fail "$REPLY_LINE"
wait_status "$A" '.link.state == "off"'
wait_status "$B" '.link.state != "up"'
dd if=/dev/urandom of="$A/disk.img" bs=64k count=9 conv=notrunc status=none
ctl_fails "$A" flush ENOTCONN
ctl "$A" connect || fail "$REPLY_LINE"
wait_protected
assert_same "$A/disk.img" "$B/disk.img"
ctl "$B" disconnect || fail "$REPLY_LINE"
wait_status "$A" '.protected | not'
ctl "$B" connect || fail "$REPLY_LINE"
wait_protected
