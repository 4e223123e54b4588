#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# QEMU's failure 7, the failover fails: it is told as a failure, nothing becomes writable, and with its cause mended the
# same order succeeds, with the last committed epoch.
# daemon-may-fail: a disk of its died, and it says so at its end
. "$(dirname "$0")/../lib.sh" || exit 1
require_root

failing_disk "$BS" 300
put_pattern "$AS/disk.img" 11 0 64
pair_up
put_pattern "$A/disk.img" 22 0 16
flush "$A"
epoch=$(reply_value epoch)
kill9 "$A"
wait_status "$B" '.link.state != "up"'
disk_dies "$BS"
ctl_fails "$B" failover EIO
say "failover: $REPLY_LINE"
assert_eq "$(status "$B" .role)" backup role
must_fail put_pattern "$B/disk.img" 33 0 4
disk_lives "$BS"
stop "$B"
wait_for 60 gone "$BS" || fail "the backup does not end"
disk_checked "$BS"
start_backup
failover "$B" "epoch=$epoch"
assert_pattern "$B/disk.img" 22 0 16 "after the failover"
put_pattern "$B/disk.img" 33 0 4
stop "$B"
assert_pattern "$BS/disk.img" 33 0 4 "the file"
assert_pattern "$BS/disk.img" 22 4 12 "the file"
assert_pattern "$BS/disk.img" 11 16 48 "the file"
