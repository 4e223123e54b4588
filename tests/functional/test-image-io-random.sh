#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Reads and writes of any offset and length, buffered and direct, do what they do on a plain file.
. "$(dirname "$0")/../lib.sh" || exit 1
require_root

size=$((3 * 1048576 + 12345))
random_file "$AS/disk.img" $size
cp "$AS/disk.img" "$T/shadow"
colofs_mount "$AS" "$A"
random_file "$T/data" $((2 * 1048576))
RANDOM=${SEED:=$$}
say "seed $SEED"
for ((i = 0; i < 150; i++)); do
	unit=1 flag= ; len=$((1 + (RANDOM << 5 | RANDOM & 31) % 300000))
	case $((RANDOM % 3)) in
	0) unit=512 flag=oflag=direct len=$((512 * (1 + RANDOM % 500))) ;;
	1) len=$((1 + RANDOM % 9000)) ;;
	esac
	off=$((((RANDOM << 15 | RANDOM) % (size - len)) / unit * unit))
	for f in "$A/disk.img" "$T/shadow"; do
		# shellcheck disable=SC2086
		dd if="$T/data" of="$f" bs=$len count=1 seek=$off iflag=skip_bytes,fullblock skip=$((i * 1000)) \
			oflag=seek_bytes conv=notrunc status=none ${flag:+oflag=seek_bytes,direct}
	done
	len=$((1 + (RANDOM << 5 | RANDOM & 31) % 200000)) off=$(((RANDOM << 15 | RANDOM) % size))
	cmp -n $len -i $off "$A/disk.img" "$T/shadow" >&2 || fail "round $i, seed $SEED"
done
assert_same "$A/disk.img" "$T/shadow"
dd if="$A/disk.img" bs=64k iflag=direct status=none | cmp - "$T/shadow" || fail "direct reads differ"
stop "$A"
assert_same "$AS/disk.img" "$T/shadow"
