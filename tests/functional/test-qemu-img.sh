#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# qemu-img creates, converts, maps, resizes, compares images on the mount.
. "$(dirname "$0")/../lib.sh" || exit 1
require_root
require qemu-img jq

colofs_mount "$AS" "$A"
qemu-img create -q -f raw "$A/new.img" 64M
assert_eq "$(stat -c %s "$AS/new.img")" $((64 << 20)) "size of a new image"
random_file "$T/data" 3000000
dd if="$T/data" of="$A/new.img" bs=64k seek=100 conv=notrunc status=none
qemu-img convert -q -f raw -O qcow2 "$A/new.img" "$T/copy.qcow2"
for mode in none writeback; do
	qemu-img convert -q -t "$mode" -T "$mode" -f qcow2 -O raw "$T/copy.qcow2" "$A/back-$mode.img"
	qemu-img compare -q -f raw -F raw "$A/new.img" "$A/back-$mode.img" || fail "convert, cache=$mode"
done
qemu-img map -f raw --output=json "$A/back-none.img" | jq -e 'any(.[]; .data | not)' >/dev/null || fail "no holes"
qemu-img convert -q -f raw -O qcow2 "$A/new.img" "$A/inside.qcow2"
qemu-img check -q "$A/inside.qcow2"
qemu-img resize -q -f raw "$A/new.img" 70M
assert_eq "$(qemu-img info --output=json -f raw "$A/new.img" | jq '."virtual-size"')" $((70 << 20)) "size after resize"
