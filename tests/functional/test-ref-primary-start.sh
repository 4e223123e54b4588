#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# QEMU's scenario primary/start: replication starts, the whole image is read and then written.
. "$(dirname "$0")/../lib.sh" || exit 1
require_root

truncate -s 64M "$AS/disk.img"
pair_up
assert_pattern "$A/disk.img" 00 0 64 "the primary before the write"
put_pattern "$A/disk.img" 22 0 64
assert_pattern "$A/disk.img" 22 0 64 "the primary"
assert_eq "$(status "$A" .protected)" true protected
assert_eq "$(status "$A" .uncommitted.bytes)" $((64 << 20)) "bytes that wait for a checkpoint"
stop "$A"
assert_pattern "$AS/disk.img" 22 0 64 "the primary's file"
assert_pattern "$B/disk.img" 00 0 64 "the backup, without a checkpoint"
