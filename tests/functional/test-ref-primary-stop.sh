#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# QEMU's scenario primary/stop: replication starts and is stopped on the primary, whose guest goes on alone.
. "$(dirname "$0")/../lib.sh" || exit 1
require_root

truncate -s 64M "$AS/disk.img"
pair_up
ctl "$A" disconnect || fail "disconnect: $REPLY_LINE"
wait_status "$A" '.link.state == "off"'
assert_eq "$(status "$A" .mode)" unprotected "mode, stopped"
put_pattern "$A/disk.img" 22 0 8
assert_pattern "$A/disk.img" 22 0 8 "the primary, stopped"
ctl_fails "$A" flush ENOTCONN
assert_pattern "$B/disk.img" 00 0 64 "the backup"
stop "$A"
assert_pattern "$AS/disk.img" 22 0 8 "the primary's file"
