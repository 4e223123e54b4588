#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# The backup's disk is full: the guest goes on, status says so, the committed epoch stays; with room again the pair
# is protected by itself.
. "$(dirname "$0")/../lib.sh" || exit 1
require_root

small_disk "$BS" 160
random_file "$AS/disk.img" $((40 << 20))
pair_up
flush "$A"
committed=$(sum "$B/disk.img")
epoch=$(status "$B" .epoch.committed)
fallocate -l "$(df -B1 --output=avail "$BS" | tail -n 1)" "$BS/.ballast" 2>/dev/null ||
	dd if=/dev/zero of="$BS/.ballast" bs=1M status=none 2>/dev/null || :
for ((i = 0; i < 4; i++)); do
	dd if=/dev/urandom of="$A/disk.img" bs=1M count=40 oflag=direct conv=notrunc status=none ||
		fail "the guest got an error"
done
verdict=fine
ctl "$A" flush || verdict=$ERRNO
say "flush on a full disk: $verdict"
if [ "$verdict" = fine ]; then
	assert_same "$A/disk.img" "$B/disk.img"
else
	case $verdict in ENOSPC | ETIMEDOUT | ENOTCONN | EIO) ;; *) fail "flush: $REPLY_LINE" ;; esac
	# Unless the catch-up found room after all and ended with a commit of its own, nothing has changed.
	now=$(sum "$B/disk.img")
	[ "$(status "$B" .epoch.committed)" != "$epoch" ] || assert_eq "$now" "$committed" "the backup's image"
fi
rm "$BS/.ballast"
wait_protected 90
wait_for 60 ctl "$A" flush || fail "flush: $REPLY_LINE"
assert_same "$A/disk.img" "$B/disk.img"
