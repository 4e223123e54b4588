#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# The primary killed and started again: it resyncs (in full, equal blocks skipped) and both copies are equal,
# with the backup at its last epoch until the sync commits.
. "$(dirname "$0")/../lib.sh" || exit 1
require_root
require fio

random_file "$AS/disk.img" $((64 << 20))
pair_up
flush "$A"
committed=$(sum "$B/disk.img")
fio --name=load --filename="$A/disk.img" --rw=randwrite --bs=4k --size=16M --io_size=200M --ioengine=libaio --iodepth=16 \
	--direct=1 --time_based --runtime=60 >"$T/fio.log" 2>&1 {TICK}>&- &
wait_status "$A" '.uncommitted.writes > 1000'
kill9 "$A"
wait %% 2>/dev/null || :
wait_status "$B" '.link.state != "up"' 30
assert_eq "$(sum "$B/disk.img")" "$committed" "the backup after the primary's crash"
start_primary
wait_protected
assert_same "$A/disk.img" "$B/disk.img"
[ $(($(metric "$A" sync_skipped_bytes_total) + $(metric "$B" sync_skipped_bytes_total))) -gt 0 ] || fail "no equal block was skipped"
dd if=/dev/urandom of="$A/disk.img" bs=1M count=3 conv=notrunc status=none
flush "$A"
assert_same "$A/disk.img" "$B/disk.img"
