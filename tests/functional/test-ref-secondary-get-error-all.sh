#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# QEMU's scenario secondary/get_error_all: no error while there is none. And what it leaves out: the primary's death is
# told here, as what it is: not an error of this node, which goes on as a backup.
. "$(dirname "$0")/../lib.sh" || exit 1
require_root

truncate -s 64M "$AS/disk.img"
pair_up
put_pattern "$A/disk.img" 22 0 4
flush "$A"
assert_eq "$(status "$B" '.last_error.text // "none"')" none "error of a sound pair"
kill9 "$A"
wait_status "$B" '.link.state != "up"'
assert_eq "$(status "$B" .mode)" backup "mode without the primary"
assert_pattern "$B/disk.img" 22 0 4 "the backup"
put_pattern "$B/disk.img" 33 0 4
assert_pattern "$B/disk.img" 33 0 4 "its own write"
