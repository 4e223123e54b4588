#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Flushes that arrive while one runs share the next commit: all are answered.
. "$(dirname "$0")/../lib.sh" || exit 1
require_root

truncate -s 64M "$AS/disk.img"
pair_up
for ((round = 0; round < 10; round++)); do
	dd if=/dev/urandom of="$A/disk.img" bs=1M count=8 conv=notrunc oflag=direct status=none
	jobs=()
	for i in 1 2 3 4 5; do
		colofsctl flush "$A" >"$T/out.$i" 2>&1 {TICK}>&- &
		jobs+=($!)
	done
	for j in "${jobs[@]}"; do
		wait "$j" || fail "a flush failed: $(cat "$T"/out.*)"
	done
done
ctl "$A" "flush name nowait" || fail "nowait: $REPLY_LINE"
assert_match "$REPLY_LINE" 'started epoch=*' "reply of nowait"
n=$(reply_value epoch)
wait_status "$B" ".epoch.committed >= $n"
