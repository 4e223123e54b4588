#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# QEMU's scenario secondary/read: a backup is read before replication has started. It fails, there and here: what is on
# its disk is no state of anything, before the first sync and in the midst of it.
. "$(dirname "$0")/../lib.sh" || exit 1
private_network
require tc

random_file "$BS/disk.img" $((1 << 20))
start_backup overwrite=yes
must_fail dd if="$B/disk.img" of=/dev/null bs=1M count=1
tc qdisc add dev lo root tbf rate 40mbit burst 128k latency 2s
random_file "$AS/disk.img" $((64 << 20))
start_primary
wait_status "$B" '.images[0].state == "syncing"'
must_fail dd if="$B/disk.img" of=/dev/null bs=1M count=1
