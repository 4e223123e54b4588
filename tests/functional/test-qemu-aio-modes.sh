#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# QEMU's block layer and QEMU itself in every aio mode, cache=none and writeback, image sizes of 512-byte
# and odd granularity.
. "$(dirname "$0")/../lib.sh" || exit 1
require_root
require qemu-io qemu-system-x86_64

colofs_mount "$AS" "$A"
for size in $((8 << 20)) $(((8 << 20) + 512)) $(((8 << 20) + 3584)); do
	truncate -s "$size" "$A/disk.img"
	for mode in "threads none" "threads writeback" "native none" "io_uring none" "io_uring writeback"; do
		read -r aio cache <<<"$mode"
		last=$(((size - 1) / 512 * 512))
		qemu-io -f raw -t "$cache" -i "$aio" -c 'write -P 1 0 1M' -c 'write -P 2 512 512' -c 'write -P 3 4096 65k' \
			-c "write -P 4 $last 512" -c 'write -z 2M 1M' -c 'discard 4M 1M' -c flush \
			-c 'read -P 1 0 512' -c 'read -P 2 512 512' -c 'read -P 1 1024 3072' -c 'read -P 3 4096 65k' \
			-c "read -P 4 $last 512" -c 'read -P 0 2M 1M' -c 'read -P 0 4M 1M' "$A/disk.img" >"$T/out" 2>&1 ||
			fail "$mode, size $size: $(cat "$T/out")"
		grep -iE 'fail|error|mismatch' "$T/out" >&2 && fail "$mode, size $size"
		# the same through a whole QEMU, by its monitor
		printf '%s\n' 'qemu-io d "write -P 6 1536 45056"' 'qemu-io d "flush"' 'qemu-io d "read -P 6 1536 45056"' \
			"qemu-io d \"write -P 7 $last 512\"" "qemu-io d \"read -P 7 $last 512\"" quit |
			timeout 60 qemu-system-x86_64 -S -machine none -display none -monitor stdio -serial none \
				-drive "if=none,id=d,file=$A/disk.img,format=raw,cache=$cache,aio=$aio,discard=unmap,detect-zeroes=unmap" \
				>"$T/out" 2>&1 || fail "qemu-system, $mode, size $size: $(cat "$T/out")"
		grep -iE 'fail|error|mismatch' "$T/out" >&2 && fail "qemu-system, $mode, size $size"
		assert_eq "$(grep -cE 'wrote|read [0-9]' "$T/out")" 4 "requests of qemu-system, $mode, size $size"
	done
done
