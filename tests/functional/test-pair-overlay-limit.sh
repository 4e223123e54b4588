#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Beyond overlay-size the twin's writes get ENOSPC; the next commit makes room, and the primary never minds.
. "$(dirname "$0")/../lib.sh" || exit 1
require_root

truncate -s 64M "$AS/disk.img"
pair_up "" overlay-size=16M
must_fail dd if=/dev/urandom of="$B/disk.img" bs=1M count=60 conv=notrunc oflag=direct
assert_match "$OUT" '*No space left*' "a write beyond the overlay"
[ "$(status "$B" .overlay.bytes)" -le $((16 << 20)) ] || fail "the overlay is larger than its limit"
assert_eq "$(status "$A" .protected)" true protected
flush "$A"
dd if=/dev/urandom of="$B/disk.img" bs=1M count=4 conv=notrunc oflag=direct status=none
