#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# A loop device with direct I/O on an image: an ext4 with files and a database survives umount and check.
. "$(dirname "$0")/../lib.sh" || exit 1
require_root
require losetup mkfs.ext4 e2fsck sqlite3

truncate -s 300M "$AS/disk.img"
colofs_mount "$AS" "$A"
loop=$(losetup -f --show --direct-io=on "$A/disk.img")
mkfs.ext4 -q "$loop"
mkdir "$T/fs"
mount "$loop" "$T/fs"
cp -r /usr/share/doc "$T/fs/" 2>/dev/null || :
sqlite3 "$T/fs/db" 'create table t(n integer); insert into t select value from generate_series(1, 5000);'
assert_eq "$(sqlite3 "$T/fs/db" 'select count(*) from t')" 5000 rows
files=$(find "$T/fs" -type f | wc -l)
fstrim "$T/fs" || say "no discard on this loop device"
umount "$T/fs"
e2fsck -fn "$loop" >"$T/fsck.log" 2>&1 || fail "$(cat "$T/fsck.log")"
losetup -d "$loop"
stop "$A"
e2fsck -fn "$AS/disk.img" >"$T/fsck.log" 2>&1 || fail "$(cat "$T/fsck.log")"
mount -o loop,ro "$AS/disk.img" "$T/fs"
assert_eq "$(find "$T/fs" -type f | wc -l)" "$files" "files after umount"
assert_eq "$(sqlite3 "file:$T/fs/db?immutable=1" 'pragma integrity_check')" ok "the database"
umount "$T/fs"
