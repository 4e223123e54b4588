#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# What Xen's qdisk does to the file, by the same block layer options: writes of odd multiples of 512 from
# many threads, discards up to the whole disk, flushes.
. "$(dirname "$0")/../lib.sh" || exit 1
require_root
require qemu-io

truncate -s $((32 * 1048576 + 512)) "$AS/disk.img"
colofs_mount "$AS" "$A"
qdisk() {
	qemu-io --image-opts \
		"driver=raw,discard=unmap,file.driver=file,file.filename=$A/disk.img,file.locking=off,file.discard=unmap" \
		"$@" >"$T/out" 2>&1 || fail "$(cat "$T/out")"
	grep -iE 'fail|error|mismatch' "$T/out" >&2 && fail "qemu-io $*"
	return 0
}
qdisk -c 'write -P 7 0 1M' -c 'discard 0 1M' -c flush -c 'read -P 0 0 1M'
# a cursor over 45056-byte writes in flight together, at odd sectors
args=()
for ((i = 0; i < 60; i++)); do
	args+=(-c "aio_write -q -P $((i + 1)) $((512 + i * 45568)) 45056")
done
args+=(-c aio_flush -c flush)
for ((i = 0; i < 60; i++)); do
	args+=(-c "read -P $((i + 1)) $((512 + i * 45568)) 45056")
done
qdisk "${args[@]}"
qdisk -c 'write -P 9 33554432 512' -c 'read -P 9 33554432 512' # the odd last sector
qdisk -c 'write -P 5 1k 1k' -c 'discard 1536 512' -c 'read -P 5 1k 512' -c 'read -P 0 1536 512'
qdisk -c "discard 0 33554944" -c 'read -P 0 0 33554944'
[ "$(stat -c %b "$AS/disk.img")" -lt 64 ] || fail "a whole-disk discard freed nothing"
