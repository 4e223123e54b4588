#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# truncate, fallocate (allocate, punch, zero; no other), SEEK_DATA and SEEK_HOLE.
. "$(dirname "$0")/../lib.sh" || exit 1
require_root
require qemu-img jq

colofs_mount "$AS" "$A"
f=$A/disk.img
random_file "$f" 4194304
cp "$f" "$T/shadow"
for x in "$f" "$T/shadow"; do
	fallocate -p -o 1048576 -l 524288 "$x"
	fallocate -p -o 2097000 -l 5000 "$x"
	fallocate -z -o 3000001 -l 70001 "$x"
	truncate -s 5000000 "$x"
	truncate -s 4800001 "$x"
	fallocate -l 6000000 "$x"
	fallocate -n -o 6000000 -l 1000000 "$x"
	fallocate -p -o 1048576 -l 524288 "$x"
done
assert_eq "$(stat -c %s "$f")" 6000000 size
assert_same "$f" "$T/shadow"
qemu-img map -f raw --output=json "$f" |
	jq -e 'any(.[]; .start == 1048576 and .length == 524288 and (.data | not))' >/dev/null ||
	fail "no hole where one was punched: $(qemu-img map -f raw --output=json "$f")"
[ "$(stat -c %b "$AS/disk.img")" -lt $((6000000 / 512 + 2048)) ] || fail "punching freed nothing"
must_fail fallocate -c -o 0 -l 4096 "$f"
assert_match "$OUT" '*not supported*' "collapse range"
must_fail fallocate -i -o 0 -l 4096 "$f"
assert_match "$OUT" '*not supported*' "insert range"
cp --sparse=always "$f" "$T/copy"
assert_same "$T/copy" "$f"
fallocate -p -o 0 -l 6000000 "$f"
cmp -n 6000000 "$f" /dev/zero || fail "a whole-disk discard"
