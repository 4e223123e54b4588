#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# A second daemon on the same SOURCE is refused; the first goes on.
. "$(dirname "$0")/../lib.sh" || exit 1
require_root

random_file "$AS/disk.img" 65536
colofs_mount "$AS" "$A"
must_fail colofs "$AS" "$B"
assert_eq "$(wc -l <<<"$OUT")" 1 "lines of the message"
assert_eq "$(findmnt -no FSTYPE "$B" || :)" "" "a second mount"
ln -s "$AS" "$T/alias"
must_fail colofs "$T/alias" "$B"
assert_same "$A/disk.img" "$AS/disk.img"
stop "$A"
colofs_mount "$AS" "$A"
