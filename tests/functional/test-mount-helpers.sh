#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Installed, mount(8) and umount(8) find the helpers in /sbin; umount returns when the daemon is gone.
# /sbin is a copy in this test's own mount namespace.
. "$(dirname "$0")/../lib.sh" || exit 1
require_root
[ -x "$BUILD/mount.fuse.colofs" ] || fail "no mount.fuse.colofs in $BUILD"
[ -x "$BUILD/umount.fuse.colofs" ] || fail "no umount.fuse.colofs in $BUILD"
sbin=$(readlink -f /sbin)
umount /usr/local/sbin
mkdir "$T/usbin" "$T/usbin.real"
mount -o bind,ro "$sbin" "$T/usbin.real"
cp -rs "$T/usbin.real/." "$T/usbin"
cp "$BUILD/mount.fuse.colofs" "$BUILD/umount.fuse.colofs" "$BUILD/colofs" "$T/usbin/"
sed "2i : >'$T/asked'" "$BUILD/umount.fuse.colofs" >"$T/usbin/umount.fuse.colofs"
mount --bind "$T/usbin" "$sbin"
export PATH=/usr/bin:/bin:/usr/sbin:/sbin

random_file "$AS/disk.img" 65536
mount -t fuse.colofs "$AS" "$A" -o commit=manual
assert_eq "$(status "$A" .mode)" unprotected mode
dd if=/dev/urandom of="$A/disk.img" bs=64k count=1 conv=notrunc status=none
want=$(sum "$A/disk.img")
umount "$A"
[ -e "$T/asked" ] || fail "umount asked no helper"
gone "$AS" || fail "umount came back before the daemon was gone"
! grep -s "TARGET=$A " /run/mount/utab || fail "umount has left a note"
assert_eq "$(sum "$AS/disk.img")" "$want" "the image file"

# by a line of fstab, with mount's own words in it
printf '%s %s fuse.colofs rw,noauto,nofail,_netdev,x-systemd.automount,commit=manual 0 0\n' "$AS" "$A" >"$T/fstab"
mount -T "$T/fstab" "$A"
assert_eq "$(status "$A" .mode)" unprotected "mode, mounted by fstab"
umount "$A"
umount "$sbin"
