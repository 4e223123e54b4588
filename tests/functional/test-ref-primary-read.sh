#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# QEMU's scenario primary/read: all of a primary's image is read before replication has started. There it fails. Here
# a guest reads its own disk whatever the peer does, status says that nobody holds a copy, and a checkpoint is refused.
# Once replication runs, with the peer frozen: reads ask it nothing.
. "$(dirname "$0")/../lib.sh" || exit 1
require_root

random_file "$AS/disk.img" $((64 << 20))
start_primary
assert_same "$A/disk.img" "$AS/disk.img"
assert_eq "$(status "$A" .mode)" unprotected mode
assert_eq "$(status "$A" .protected)" false protected
ctl_fails "$A" flush ENOTCONN

start_backup
wait_protected
kill -STOP "$(daemon_of "$B")"
sent=$(metric "$A" link_sent_bytes_total)
dd if="$A/disk.img" bs=1M iflag=direct status=none | cmp - "$AS/disk.img" || fail "read beside a frozen peer"
assert_less $(($(metric "$A" link_sent_bytes_total) - sent)) 65536 "bytes sent to the peer for 64 MiB read"
kill -CONT "$(daemon_of "$B")"
