#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# QEMU's scenario secondary/continuous_replication: after the failover the promoted node is a primary, gets a new backup,
# commits checkpoints there, and that one can be failed over to in its turn.
. "$(dirname "$0")/../lib.sh" || exit 1
require_root

put_pattern "$AS/disk.img" 11 0 64
pair_up
put_pattern "$A/disk.img" 22 32 32
wait_status "$A" '.pending.bytes == 0'
put_pattern "$B/disk.img" 33 0 32
kill9 "$A"
wait_status "$B" '.link.state != "up"'
failover "$B"

mkdir "$T/c.src" "$T/c"
colofs_mount "$T/c.src" "$T/c" "role=backup,peer=127.0.0.1:$PEER_PORT,tls=$T/certs/a,peer-name=b"
wait_status "$B" '.role == "primary" and .protected' 60
flush "$B"
assert_pattern "$T/c/disk.img" 33 0 32 "the new backup, first half"
assert_pattern "$T/c/disk.img" 11 32 32 "the new backup, second half"
put_pattern "$B/disk.img" 44 0 16
wait_status "$B" '.pending.bytes == 0'
assert_pattern "$T/c/disk.img" 33 0 32 "the new backup, uncommitted"
flush "$B"
assert_pattern "$T/c/disk.img" 44 0 16 "the new backup, committed"
kill9 "$B"
wait_status "$T/c" '.link.state != "up"'
failover "$T/c"
stop "$T/c"
assert_pattern "$T/c.src/disk.img" 44 0 16 "the third file"
assert_pattern "$T/c.src/disk.img" 33 16 16 "the third file"
assert_pattern "$T/c.src/disk.img" 11 32 32 "the third file, second half"
