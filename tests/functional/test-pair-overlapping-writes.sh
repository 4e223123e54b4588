#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Writes in flight that overlap reach both copies in one order; checkpoints in the midst of them, under load, are whole.
. "$(dirname "$0")/../lib.sh" || exit 1
require_root
require fio

: "${ROUNDS:=6}"
truncate -s 1M "$AS/disk.img"
pair_up link-timeout=20s,flush-timeout=60s
for ((round = 1; round <= ROUNDS; round++)); do
	fio --name=overlap --filename="$A/disk.img" --rw=randwrite --bsrange=512-16k --blockalign=512 --size=48k --io_size=4M \
		--numjobs=4 --ioengine=libaio --iodepth=16 --direct=1 --randrepeat=0 --refill_buffers \
		--group_reporting >"$T/fio.log" 2>&1 {TICK}>&- &
	fio=$!
	for i in 1 2 3; do
		flush "$A"
		assert_eq "$(status "$B" .mode)" backup "the backup, round $round, flush $i"
	done
	wait "$fio" || fail "$(tail -n 20 "$T/fio.log")"
	flush "$A"
	assert_same "$A/disk.img" "$B/disk.img"
done
assert_eq "$(metric "$A" link_losses_total)" 0 "links lost"
