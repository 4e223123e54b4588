#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# congestion=catch-up: with a peer that takes nothing, guest writes are not held at all (block: link-timeout each burst);
# they are marked, and sent before the next commit. overlay=off: the twin's writes get EROFS. Both can be set live.
. "$(dirname "$0")/../lib.sh" || exit 1
require_root

truncate -s 200M "$AS/disk.img"
pair_up send-buffer=256K,link-timeout=30s,congestion=catch-up overlay=off,link-timeout=30s
say "overlay=off"
must_fail dd if=/dev/zero of="$B/disk.img" bs=4k count=1 conv=notrunc status=none
assert_match "$OUT" "*Read-only file system*"
ctl "$B" "set overlay on" || fail "$REPLY_LINE"
dd if=/dev/zero of="$B/disk.img" bs=4k count=1 conv=notrunc status=none
ctl "$B" "set overlay off"
must_fail dd if=/dev/zero of="$B/disk.img" bs=4k count=1 conv=notrunc status=none

say "congestion=catch-up: 100 MB while the backup is stopped"
kill -STOP "$(daemon_of "$B")"
timeout 25 dd if=/dev/urandom of="$A/disk.img" bs=1M count=100 conv=notrunc oflag=direct status=none ||
	fail "guest writes were held by a peer that takes nothing"
status_is "$A" '.pending.bytes > 50000000 and .mode == "primary"' || fail "the writes are not pending: $(status "$A" .pending)"
kill -CONT "$(daemon_of "$B")"
flush "$A"
assert_same "$B/disk.img" "$A/disk.img"
