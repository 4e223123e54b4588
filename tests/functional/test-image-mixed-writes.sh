#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Aligned and odd-sized writes, discards and new sizes in one epoch, looked at while they are destaged: direct and
# buffered writes of one file must not meet in the kernel's page cache, which fails the next fsync with EIO when they do.
. "$(dirname "$0")/../lib.sh" || exit 1
require_root
require fio

truncate -s 64M "$AS/disk.img"
dd if=/dev/urandom of="$AS/disk.img" bs=1M count=16 conv=notrunc status=none
pair_up
: "${ROUNDS:=2}"
for ((round = 1; round <= ROUNDS; round++)); do
	fio --name=mixed --filename="$A/disk.img" --direct=1 --rw=randrw --bsrange=512-64k --size=64M --io_size=20M \
		--ioengine=libaio --iodepth=16 >"$T/fio.log" 2>&1 {TICK}>&- || fail "round $round: $(tail -n 20 "$T/fio.log")"
	fallocate -p -o $((round * 100000)) -l 300000 "$A/disk.img"
	truncate -s $((60 + round % 5))M "$A/disk.img"
	flush "$A"
	assert_same "$A/disk.img" "$B/disk.img"
	wait_status "$B" '.journal.sealed == 0' 60
	assert_eq "$(status "$B" .mode)" backup "the backup's mode"
done
