#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# QEMU's scenario secondary/start: the disk is all 0x11; the primary writes 0x22 to its second half, which the backup's
# guest must not see; its own 0x33 in the first half it sees.
. "$(dirname "$0")/../lib.sh" || exit 1
require_root

put_pattern "$AS/disk.img" 11 0 64
pair_up
assert_pattern "$B/disk.img" 11 0 64 "the backup at the start"
put_pattern "$A/disk.img" 22 32 32
wait_status "$A" '.pending.bytes == 0'
assert_pattern "$B/disk.img" 11 32 32 "the backup, second half, uncommitted"
put_pattern "$B/disk.img" 33 0 32
assert_pattern "$B/disk.img" 33 0 32 "the backup, first half, its own"
assert_pattern "$B/disk.img" 11 32 32 "the backup, second half, uncommitted still"
assert_pattern "$A/disk.img" 11 0 32 "the primary, first half"
