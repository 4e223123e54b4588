#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# QEMU's failure 1, an I/O error on the primary's disk: it is told to the guest, and only for what it hit. Checkpoints go
# on for all the rest, status names what the peer lacks, and when the disk is whole again both copies become equal.
. "$(dirname "$0")/../lib.sh" || exit 1
require_root
require filefrag

failing_disk "$AS" 200
disk_front "$AS"
put_pattern "$AS/disk.img" 11 0 64
disk_front_only "$AS"
pair_up
disk_goes_bad "$AS" "$AS/disk.img"
must_fail put_pattern "$A/disk.img" 33 "$BAD_OFF" 1
assert_match "$OUT" '*Input/output error*' "a write to what is bad"
good=$(((BAD_OFF + 32) % 64 / 8 * 8))
put_pattern "$A/disk.img" 22 "$good" 4
flush "$A"
assert_pattern "$B/disk.img" 22 "$good" 4 "the backup"
wait_status "$A" '.last_error.text // "" | contains("disk.img")'
say "status: $(status "$A" .last_error.text)"
disk_lives "$AS"
put_pattern "$A/disk.img" 55 "$BAD_OFF" 1
ctl "$A" disconnect || fail "$REPLY_LINE"
wait_status "$A" '.link.state == "off"'
ctl "$A" connect || fail "$REPLY_LINE"
wait_protected
flush "$A"
assert_pattern "$B/disk.img" 55 "$BAD_OFF" 1 "the backup, what was bad"
assert_same "$A/disk.img" "$B/disk.img"
