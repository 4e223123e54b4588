#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# QEMU's failure 4, an I/O error on the backup's disk: a checkpoint that was confirmed stays confirmed, for it is in the
# journal; the backup says what is wrong, and the guest goes on. With the disk back all of it comes to the image.
# daemon-may-fail: a disk of its died, and it says so at its end
. "$(dirname "$0")/../lib.sh" || exit 1
require_root
require filefrag

failing_disk "$BS" 200
mkdir -m 700 "$T/journal"
put_pattern "$AS/disk.img" 11 0 64
pair_up link-timeout=2s,flush-timeout=4s "journal=$T/journal"
wait_status "$B" '.journal.sealed == 0'
disk_goes_bad "$BS" "$BS/disk.img"
put_pattern "$A/disk.img" 22 "$BAD_OFF" "$BAD_LEN"
# Confirmed; or unknown to the primary, if the backup fails and ends the link before the confirmation is read.
ctl "$A" flush || assert_match "$REPLY_LINE" '*ETIMEDOUT*unknown*' "flush"
epoch=$(reply_value epoch)
wait_status "$B" '.mode == "failed"'
say "the backup: $(status "$B" '.reason + "; " + (.last_error.text // "")')"
assert_match "$(status "$B" .reason)" '*disk.img*' "what the backup says"
wait_status "$A" '.protected | not'
put_pattern "$A/disk.img" 33 0 4
assert_pattern "$A/disk.img" 33 0 4 "the primary's guest"
kill9 "$A"
disk_lives "$BS"
stop "$B"
wait_for 60 gone "$BS" || fail "the backup does not end"
start_backup "journal=$T/journal"
assert_eq "$(status "$B" .epoch.committed)" "$epoch" "the recovered epoch"
assert_pattern "$B/disk.img" 22 "$BAD_OFF" "$BAD_LEN" "the backup, what was bad"
assert_pattern "$B/disk.img" 11 0 "$((BAD_OFF < 8 ? BAD_OFF : 8))" "the backup"
stop "$B"
assert_pattern "$BS/disk.img" 22 "$BAD_OFF" "$BAD_LEN" "the file"
