#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# QEMU's scenario primary/write: all of a primary's image is written before replication has started. There it fails.
# Here the guest goes on, and the peer has it before the pair calls itself protected; once they are a pair, what the peer
# lacks is counted.
. "$(dirname "$0")/../lib.sh" || exit 1
require_root

truncate -s 64M "$AS/disk.img"
start_primary
put_pattern "$A/disk.img" 22 0 64
assert_pattern "$A/disk.img" 22 0 64 "the primary"
assert_eq "$(status "$A" .protected)" false protected
start_backup
wait_protected
assert_pattern "$B/disk.img" 22 0 64 "the backup"
stop "$B"
wait_status "$A" '.link.state != "up"'
put_pattern "$A/disk.img" 33 0 64
assert_eq "$(status "$A" '.images[0].dirty_bytes')" $((64 << 20)) "bytes that the peer lacks"
start_backup
wait_protected
assert_eq "$(status "$A" '.images[0].dirty_bytes')" 0 "bytes that the peer lacks, protected"
assert_pattern "$B/disk.img" 33 0 64 "the backup, again"
