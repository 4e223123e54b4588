#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# A file system that refuses O_DIRECT (ext4 that journals its data): all goes through the page cache, and status says so.
. "$(dirname "$0")/../lib.sh" || exit 1
require_root
require mkfs.ext4 tune2fs

small_disk "$T/disk" 64
umount "$T/disk"
tune2fs -o journal_data "$T/disk.disk" >"$T/tune.log"
mount -o loop "$T/disk.disk" "$T/disk"
mkdir "$T/disk/s"
AS=$T/disk/s
truncate -s 1M "$AS/disk.img"
colofs_mount "$AS" "$A"
assert_eq "$(status "$A" .buffered)" true "buffered, where O_DIRECT is refused"
assert_match "$(cat "$A/.colo/status")" "*refuses O_DIRECT*" "status for people"
put_pattern "$A/disk.img" 5a 0 1
stop "$A"
assert_pattern "$AS/disk.img" 5a 0 1 "what was written"

# where it is taken
mkdir "$T/plain"
truncate -s 1M "$T/plain/disk.img"
colofs_mount "$T/plain" "$A"
assert_eq "$(status "$A" .buffered)" false "buffered, where O_DIRECT is taken"
stop "$A"
