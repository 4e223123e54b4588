#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# A backup whose disk is full to the last block can still be mounted, and failed over to its last epoch.
. "$(dirname "$0")/../lib.sh" || exit 1
require_root

small_disk "$BS" 300
truncate -s 100M "$AS/disk.img"
pair_up
dd if=/dev/urandom of="$A/disk.img" bs=1M count=60 oflag=direct conv=notrunc status=none
flush "$A"
committed=$(sum "$A/disk.img")
kill9 "$B"
dd if=/dev/zero of="$BS/.ballast" bs=64k status=none 2>/dev/null || :
dd if=/dev/zero of="$BS/.ballast2" bs=1k status=none 2>/dev/null || :
kill9 "$A"
start_backup
assert_eq "$(sum "$B/disk.img")" "$committed" "the last epoch on the full disk"
failover "$B"
assert_eq "$(sum "$B/disk.img")" "$committed" "after the failover"
