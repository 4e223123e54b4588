#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# QEMU's scenario primary/get_error_all: no error while there is none. And what it leaves out: once there is one, it is
# told without a checkpoint that asks, to the guest never, and it is no longer the present state when it is over.
. "$(dirname "$0")/../lib.sh" || exit 1
require_root

truncate -s 64M "$AS/disk.img"
pair_up
assert_eq "$(status "$A" '.last_error.text // "none"')" none "error of a sound pair"
put_pattern "$A/disk.img" 22 0 4
flush "$A"
assert_eq "$(status "$A" '.last_error.text // "none"')" none "error after a checkpoint"
kill9 "$B"
wait_status "$A" '.last_error != null and .protected == false and .mode == "unprotected"'
put_pattern "$A/disk.img" 33 0 4
start_backup
wait_protected
assert_eq "$(status "$A" .mode)" primary "mode when it is over"
flush "$A"
assert_same "$A/disk.img" "$B/disk.img"
