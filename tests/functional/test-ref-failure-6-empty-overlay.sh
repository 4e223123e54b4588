#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# QEMU's failure 6, the active disk cannot be emptied at a checkpoint: here the record that commits, and drops the overlay
# by that, cannot be written. The checkpoint is refused; the overlay is there whole or the backup says it failed.
# daemon-may-fail: a disk of its died, and it says so at its end
. "$(dirname "$0")/../lib.sh" || exit 1
require_root

failing_disk "$T/jdisk" 300
mkdir -m 700 "$T/jdisk/journal"
put_pattern "$AS/disk.img" 11 0 64
pair_up "link-timeout=2s,flush-timeout=4s" "journal=$T/jdisk/journal"
flush "$A"
epoch=$(reply_value epoch)
put_pattern "$A/disk.img" 22 0 8
wait_status "$A" '.pending.bytes == 0'
put_pattern "$B/disk.img" 33 32 8
disk_dies "$T/jdisk"
if ctl "$A" flush; then
	fail "a checkpoint on a dead journal: $REPLY_LINE"
fi
say "flush: $REPLY_LINE"
assert_eq "$(status "$B" .epoch.committed)" "$epoch" "the backup's epoch"
wait_status "$B" '.mode == "failed"'
must_fail dd if="$B/disk.img" of=/dev/null bs=1M iflag=direct
disk_lives "$T/jdisk"
stop "$A"
stop "$B"
wait_for 60 gone "$BS" || fail "the backup does not end"
disk_checked "$T/jdisk"
start_backup "journal=$T/jdisk/journal"
now=$(status "$B" .epoch.committed)
say "epoch $epoch before, $now with the disk back"
assert_pattern "$B/disk.img" 11 8 56 "no half of the overlay"
[ "$now" != "$epoch" ] || assert_pattern "$B/disk.img" 11 0 8 "no half of the epoch"
[ "$now" = "$epoch" ] || assert_pattern "$B/disk.img" 22 0 8 "the whole epoch"
