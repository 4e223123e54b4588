#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# A journal too small for the load: with sealed epochs left the primary is held back and goes on; an epoch that
# cannot fit is refused (ENOSPC), the guest never fails, and the pair comes back by itself.
. "$(dirname "$0")/../lib.sh" || exit 1
require_root
require fio

truncate -s 128M "$AS/disk.img"
pair_up link-timeout=4s journal-size=32M
for ((i = 0; i < 12; i++)); do # 96 MiB through 32 MiB of journal: destage makes room
	dd if=/dev/urandom of="$A/disk.img" bs=1M count=8 seek=$((i * 8)) oflag=direct conv=notrunc status=none
	flush "$A"
done
assert_same "$A/disk.img" "$B/disk.img"
committed=$(sum "$B/disk.img")
dd if=/dev/urandom of="$A/disk.img" bs=1M count=100 oflag=direct conv=notrunc status=none ||
	fail "the guest got an error"
# The epoch does not fit: either this flush is refused, or it waits for the catch-up and succeeds.
if ctl "$A" flush; then
	assert_same "$A/disk.img" "$B/disk.img"
else
	case $ERRNO in ENOSPC | ETIMEDOUT | ENOTCONN | EIO) ;; *) fail "flush: $REPLY_LINE" ;; esac
	say "refused: $REPLY_LINE"
	assert_eq "$(sum "$B/disk.img")" "$committed" "the backup after a refused epoch"
fi
[ "$(status "$B" '.journal.used')" -le $((32 << 20)) ] || fail "the journal is larger than its limit"
on_disk=$(find "$BS/.colofs/journal" -name 'j*' -type f -exec du -cm {} + | tail -n 1 | cut -f1)
[ "$on_disk" -le 34 ] || fail "the journal takes $on_disk MiB"
# A backup with more room is back where it was
stop "$B"
start_backup journal-size=1G
wait_protected 60
flush "$A"
assert_same "$A/disk.img" "$B/disk.img"
