#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Requests of every length go over the link and into the overlay: none at all, a byte, around a sector, a page, a TLS
# record, the largest FUSE request, and many of those at once; at odd offsets too.
. "$(dirname "$0")/../lib.sh" || exit 1
require_root

size=$((24 << 20))
truncate -s $size "$AS/disk.img"
truncate -s $size "$T/shadow"
random_file "$T/data" $((9 << 20))
pair_up
put() { # FILE OFFSET LENGTH
	dd if="$T/data" of="$1" bs="$3" count=1 iflag=fullblock seek="$2" oflag=seek_bytes conv=notrunc status=none
}
lengths="1 2 511 512 513 4095 4096 4097 16383 16384 16385 65537 131071 131073 1048575 1048576 1048577 8388609"
for off in 0 1 4095 1048577; do
	for len in $lengths; do
		put "$A/disk.img" $((off + len % 7777)) "$len"
		put "$T/shadow" $((off + len % 7777)) "$len"
	done
	# no length: no frame, no error
	dd if=/dev/null of="$A/disk.img" bs=4k seek=1 conv=notrunc status=none
	: >>"$A/disk.img"
	flush "$A"
	assert_same "$A/disk.img" "$T/shadow"
	assert_same "$B/disk.img" "$T/shadow"
done
: >"$A/empty"
truncate -s 0 "$A/empty"
flush "$A"
assert_eq "$(stat -c %s "$B/empty")" 0 "size of an empty image"
for len in $lengths; do
	put "$B/disk.img" $((3000 + len % 999)) "$len"
	put "$T/shadow" $((3000 + len % 999)) "$len"
done
assert_same "$B/disk.img" "$T/shadow"
assert_eq "$(status "$B" .mode)" backup "mode of the backup"
assert_eq "$(status "$A" .protected)" true protected
