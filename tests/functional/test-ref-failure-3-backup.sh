#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# QEMU's failure 3, the backup cannot keep what makes going back possible: here its journal's disk dies in mid-epoch. The
# guest goes on, the checkpoint is refused, and the backup with its disk back has the last committed epoch and catches up.
# daemon-may-fail: a disk of its died, and it says so at its end
. "$(dirname "$0")/../lib.sh" || exit 1
require_root

failing_disk "$T/jdisk" 300
mkdir -m 700 "$T/jdisk/journal"
put_pattern "$AS/disk.img" 11 0 64
pair_up "link-timeout=2s,flush-timeout=4s" "journal=$T/jdisk/journal"
put_pattern "$A/disk.img" 22 0 16
flush "$A"
epoch=$(reply_value epoch)
put_pattern "$A/disk.img" 33 8 4
disk_dies "$T/jdisk"
put_pattern "$A/disk.img" 33 12 20
if ctl "$A" flush; then
	fail "a checkpoint on a dead journal: $REPLY_LINE"
fi
say "flush: $REPLY_LINE"
put_pattern "$A/disk.img" 44 32 8
wait_status "$A" '.protected | not'
wait_status "$B" '.mode == "failed"'
assert_match "$(status "$B" .reason)" '*journal*' "what the backup says"
assert_eq "$(status "$B" .epoch.committed)" "$epoch" "its epoch"
disk_lives "$T/jdisk"
stop "$A"
stop "$B"
wait_for 60 gone "$BS" || fail "the backup does not end"
disk_checked "$T/jdisk"
start_backup "journal=$T/jdisk/journal"
assert_eq "$(status "$B" .epoch.committed)" "$epoch" "the recovered epoch"
assert_pattern "$B/disk.img" 22 0 16 "the recovered backup"
assert_pattern "$B/disk.img" 11 16 48 "the recovered backup"
start_primary
wait_protected
flush "$A"
assert_same "$A/disk.img" "$B/disk.img"
