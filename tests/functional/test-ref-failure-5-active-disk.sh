#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# QEMU's failure 5, an I/O error on the active disk, which keeps what the backup's guest writes: that guest gets the
# error, and nobody else. What the primary committed is there with the disk.
# daemon-may-fail: a disk of its died, and it says so at its end
. "$(dirname "$0")/../lib.sh" || exit 1
require_root

failing_disk "$T/jdisk" 300
mkdir -m 700 "$T/jdisk/journal"
put_pattern "$AS/disk.img" 11 0 64
pair_up "link-timeout=2s,flush-timeout=4s" "journal=$T/jdisk/journal"
put_pattern "$A/disk.img" 22 0 16
flush "$A"
put_pattern "$B/disk.img" 33 0 4
disk_dies "$T/jdisk"
must_fail dd if=/dev/zero of="$B/disk.img" bs=4k count=1 oflag=direct conv=notrunc
assert_match "$OUT" '*Input/output error*' "the backup's guest"
put_pattern "$A/disk.img" 55 20 4
assert_pattern "$A/disk.img" 55 20 4 "the primary's guest"
disk_lives "$T/jdisk"
stop "$B"
wait_for 60 gone "$BS" || fail "the backup does not end"
disk_checked "$T/jdisk"
stop "$A"
start_backup "journal=$T/jdisk/journal"
assert_pattern "$B/disk.img" 22 0 16 "what was committed"
assert_pattern "$B/disk.img" 11 16 48 "what was committed"
