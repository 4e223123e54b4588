#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# SOURCE's rules: what is shown, and permissions of .colofs.
. "$(dirname "$0")/../lib.sh" || exit 1
require_root

truncate -s 1M "$AS/disk.img" "$AS/.hidden" "$T/elsewhere"
mkdir "$AS/dir"
mkfifo "$AS/fifo"
ln -s "$T/elsewhere" "$AS/link-to-file"
truncate -s 8M "$T/dev.disk"
loop=$(losetup -f --show "$T/dev.disk")
ln -s "$loop" "$AS/device"
colofs_mount "$AS" "$A"
assert_eq "$(ls "$A" | tr '\n' ' ')" "device disk.img " "what is shown"
assert_eq "$(stat -c %s "$A/device")" 8388608 "size of the block device's image"
dd if=/dev/urandom of="$A/device" bs=1M count=8 oflag=direct conv=notrunc status=none
cmp "$A/device" "$loop" || fail "the device does not hold what was written"
stop "$A"
losetup -d "$loop"
rm "$AS/device"

chmod 755 "$AS/.colofs"
must_fail colofs "$AS" "$A"
assert_match "$OUT" '*.colofs*' "message about loose permissions"
chmod 700 "$AS/.colofs"
colofs_mount "$AS" "$A"
