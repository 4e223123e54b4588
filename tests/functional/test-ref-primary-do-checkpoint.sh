#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# QEMU's scenario primary/do_checkpoint: a checkpoint with nothing written succeeds, and is one: a new epoch, on both.
. "$(dirname "$0")/../lib.sh" || exit 1
require_root

truncate -s 64M "$AS/disk.img"
pair_up
before=$(status "$B" .epoch.committed)
flush "$A" checkpoint
n=$(reply_value epoch)
[ "$n" -gt "$before" ] || fail "epoch $n after $before"
assert_eq "$(status "$A" .epoch.committed)" "$n" "epoch committed, primary"
assert_eq "$(status "$B" .epoch.committed)" "$n" "epoch committed, backup"
assert_eq "$(status "$B" .epoch.name)" checkpoint "its name, backup"
