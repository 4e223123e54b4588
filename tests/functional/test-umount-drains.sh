#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# umount drains: on the primary the files hold all that was written, on the backup exactly the last epoch.
. "$(dirname "$0")/../lib.sh" || exit 1
require_root

truncate -s 64M "$AS/disk.img"
pair_up
dd if=/dev/urandom of="$A/disk.img" bs=1M count=60 conv=notrunc status=none
flush "$A"
want=$(sum "$A/disk.img")
dd if=/dev/urandom of="$A/disk.img" bs=1M count=5 conv=notrunc status=none
dd if=/dev/urandom of="$B/disk.img" bs=1M count=5 seek=9 conv=notrunc status=none
now=$(sum "$A/disk.img")
stop "$B"
assert_eq "$(sum "$BS/disk.img")" "$want" "the backup's file"
stop "$A"
assert_eq "$(sum "$AS/disk.img")" "$now" "the primary's file"
start_backup
assert_eq "$(sum "$B/disk.img")" "$want" "the backup's image, mounted again"
kill -TERM "$(daemon_of "$B")"
wait_for 20 gone "$BS" || fail "SIGTERM does not end a backup"
