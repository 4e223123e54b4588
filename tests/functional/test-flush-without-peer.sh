#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# flush without a peer is ENOTCONN at once; never a wait, never a lie.
. "$(dirname "$0")/../lib.sh" || exit 1
require_root

truncate -s 1M "$AS/disk.img"
colofs_mount "$AS" "$A"
must_fail bash -c "echo flush > '$A/.colo/ctl'"
stop "$A"
start_primary
ctl_fails "$A" flush ENOTCONN
assert_less "$TOOK_MS" 1000 "milliseconds until ENOTCONN"
must_fail bash -c "echo flush > '$A/.colo/ctl'"
assert_match "$OUT" '*not connected*' "what the shell says"
start_backup
wait_protected
flush "$A"
kill9 "$B"
wait_status "$A" '.link.state != "up"' 30
ctl_fails "$A" flush ENOTCONN
assert_less "$TOOK_MS" 1000 "milliseconds until ENOTCONN"
assert_eq "$(status "$A" .mode)" unprotected "mode"
dd if=/dev/urandom of="$A/disk.img" bs=4k count=10 conv=notrunc,fsync status=none
