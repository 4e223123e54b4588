#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# QEMU's scenario secondary/stop: as secondary/start, then failover. The backup's own 0x33 becomes the disk's. The
# primary's uncommitted 0x22 does not (there it does, or not: its comparison is `<= 0` and cannot tell).
. "$(dirname "$0")/../lib.sh" || exit 1
require_root

put_pattern "$AS/disk.img" 11 0 64
pair_up
put_pattern "$A/disk.img" 22 32 32
wait_status "$A" '.pending.bytes == 0'
put_pattern "$B/disk.img" 33 0 32
kill9 "$A"
wait_status "$B" '.link.state != "up"'
failover "$B"
[ "$(reply_value lost_bytes)" -ge $((32 << 20)) ] || fail "lost, it says: $REPLY_LINE"
assert_pattern "$B/disk.img" 33 0 32 "first half after the failover"
assert_pattern "$B/disk.img" 11 32 32 "second half after the failover"
stop "$B"
assert_pattern "$BS/disk.img" 33 0 32 "the file's first half"
assert_pattern "$BS/disk.img" 11 32 32 "the file's second half"
