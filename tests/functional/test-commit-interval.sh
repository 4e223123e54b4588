#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# commit=MS: an epoch is committed by itself, unless nothing was written.
. "$(dirname "$0")/../lib.sh" || exit 1
require_root

truncate -s 1M "$AS/disk.img"
pair_up commit=100ms
dd if=/dev/urandom of="$A/disk.img" bs=4k count=1 conv=notrunc status=none
wait_for 5 cmp -s "$A/disk.img" "$B/disk.img" || fail "no commit came"
wait_status "$A" '.uncommitted.bytes == 0'
epoch=$(status "$B" .epoch.committed)
for ((i = 0; i < 10; i++)); do
	tick 0.05
done
assert_eq "$(status "$B" .epoch.committed)" "$epoch" "the epoch of an idle pair"
