#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# QEMU's scenario secondary/do_checkpoint: what the primary wrote becomes visible with the checkpoint, and what the backup
# wrote itself is gone with it.
. "$(dirname "$0")/../lib.sh" || exit 1
require_root

put_pattern "$AS/disk.img" 11 0 64
pair_up
put_pattern "$A/disk.img" 22 32 32
put_pattern "$B/disk.img" 33 16 32
wait_status "$A" '.pending.bytes == 0'
assert_pattern "$B/disk.img" 33 16 32 "the backup's own, before"
assert_pattern "$B/disk.img" 11 48 16 "uncommitted"
flush "$A"
assert_pattern "$B/disk.img" 11 0 32 "first half after the checkpoint"
assert_pattern "$B/disk.img" 22 32 32 "second half after the checkpoint"
stop "$B"
assert_pattern "$BS/disk.img" 11 0 32 "the file's first half"
assert_pattern "$BS/disk.img" 22 32 32 "the file's second half"
