#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# A stopped backup: the guest's writes go on within link-timeout, flush says ETIMEDOUT (or ENOTCONN once the
# loss is known), status says why; resumed, the pair is protected again by itself.
. "$(dirname "$0")/../lib.sh" || exit 1
require_root

random_file "$AS/disk.img" $((32 << 20))
pair_up link-timeout=2s,flush-timeout=4s
flush "$A"
pid=$(daemon_of "$B")
kill -STOP "$pid"
dd if=/dev/urandom of="$A/disk.img" bs=4k count=1 oflag=direct conv=notrunc status=none
ctl_fails "$A" flush ETIMEDOUT
assert_less "$TOOK_MS" 6000 "milliseconds until ETIMEDOUT"
t0=$(now_ms)
dd if=/dev/urandom of="$A/disk.img" bs=1M count=30 oflag=direct conv=notrunc status=none
assert_less $(($(now_ms) - t0)) 7000 "milliseconds that writes were held"
wait_status "$A" '.protected | not' 10
wait_status "$A" '.link.state != "up"' 10
status "$A" '.reason + (.last_error.text // "")' | grep -qi . || fail "status does not say why"
kill -CONT "$pid"
wait_protected
flush "$A"
assert_same "$A/disk.img" "$B/disk.img"
