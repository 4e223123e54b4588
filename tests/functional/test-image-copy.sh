#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# cp and dd to and from the mount; writes beyond the end extend the image.
. "$(dirname "$0")/../lib.sh" || exit 1
require_root

colofs_mount "$AS" "$A"
random_file "$T/odd" 5000001
cp "$T/odd" "$A/copy"
assert_same "$A/copy" "$T/odd"
cp "$A/copy" "$T/back"
assert_same "$T/back" "$T/odd"
dd if="$T/odd" of="$A/dd" bs=4097 status=none
assert_same "$A/dd" "$T/odd"
dd if="$T/odd" of="$A/append" bs=1M count=1 status=none
tail -c +1048577 "$T/odd" >>"$A/append"
assert_same "$A/append" "$T/odd"
printf x | dd of="$A/sparse" bs=1 seek=3000000 status=none
assert_eq "$(stat -c %s "$A/sparse")" 3000001 "size after a write far out"
head -c 3000000 "$A/sparse" | cmp - <(head -c 3000000 /dev/zero) || fail "the gap is not zeroes"
: >"$A/append"
assert_eq "$(stat -c %s "$A/append")" 0 "size after > FILE"
dd if=/dev/zero of="$A/dd" bs=1M count=4 conv=fsync,notrunc status=none
stop "$A"
cmp -n 4194304 "$AS/dd" /dev/zero || fail "the image file"
