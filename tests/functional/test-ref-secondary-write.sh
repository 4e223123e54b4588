#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# QEMU's scenario secondary/write: a backup is written to before replication has started. It fails, there and here,
# before the first sync and in the midst of it; before it, the disk stays as it was.
. "$(dirname "$0")/../lib.sh" || exit 1
private_network
require tc

random_file "$BS/disk.img" $((1 << 20))
before=$(sum "$BS/disk.img")
start_backup overwrite=yes
must_fail dd if=/dev/zero of="$B/disk.img" bs=1M count=1 conv=notrunc
must_fail truncate -s 0 "$B/disk.img"
assert_eq "$(sum "$BS/disk.img")" "$before" "the file"
tc qdisc add dev lo root tbf rate 40mbit burst 128k latency 2s
random_file "$AS/disk.img" $((64 << 20))
start_primary
wait_status "$B" '.images[0].state == "syncing"'
must_fail dd if=/dev/zero of="$B/disk.img" bs=1M count=1 conv=notrunc
