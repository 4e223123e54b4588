#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# A link to a block device in SOURCE is an image: of the device's size, read, written, synced and discarded like another,
# but never resized, renamed, replaced or removed. Other links are not shown. A device that is in use elsewhere, or that
# is not there, is refused; one that was exchanged for another is noticed.
. "$(dirname "$0")/../lib.sh" || exit 1
require_root
require losetup fallocate blkdiscard

size=$((8 << 20 | 512)) # not a multiple of the page
make_device one $size
one=$DEV
random_file "$T/copy" $size
cp --sparse=never "$T/copy" "$T/one.disk"
blockdev --flushbufs "$one"
ln -s "$one" "$AS/vm1"
# Not shown: to nothing, to a file, to a directory, to a character device; a link to a link that leads to a device is.
ln -s /dev/no-such-device "$AS/dangling"
random_file "$T/file" 1000
ln -s "$T/file" "$AS/to-file"
ln -s "$T" "$AS/to-directory"
ln -s /dev/null "$AS/to-null"
random_file "$AS/plain" 100000
make_device two $((1 << 20))
two=$DEV
ln -s "$DEV" "$T/two-link"
ln -s ../two-link "$AS/vm2"

colofs_mount "$AS" "$A"
assert_eq "$(ls "$A" | tr '\n' ' ')" "plain vm1 vm2 " "what is shown"
assert_eq "$(stat -c '%F %s %h' "$A/vm1")" "regular file $size 1" "the attributes"
assert_eq "$(status "$A" '.images[] | select(.name == "vm1") | .size')" $size "its size in status"
assert_same "$A/vm1" "$T/copy"

# Writes: by O_DIRECT and through the page cache, of any length and place, up to the very end.
put() { # OFF LEN [CONV]: the same bytes into the image and the copy
	random_file "$T/piece" "$2"
	dd if="$T/piece" of="$A/vm1" bs=1M seek="$1" oflag=seek_bytes"${3:-}" conv=notrunc status=none
	dd if="$T/piece" of="$T/copy" bs=1M seek="$1" oflag=seek_bytes conv=notrunc status=none
}
put $((1 << 20)) $((1 << 20)) ,direct
put 12345 70001
put 0 511
put $((size - 700)) 700
dd if="$A/vm1" bs=1M iflag=direct status=none | cmp - "$T/copy" || fail "O_DIRECT reads differ"
sync "$A/vm1"
must_fail dd if=/dev/zero of="$A/vm1" bs=512 seek=$((size / 512)) count=1 conv=notrunc
assert_match "$OUT" '*No space left*' "a write beyond the end"
dd if=/dev/zero of="$A/vm1" bs=4096 seek=$((size / 4096)) count=1 conv=notrunc status=none 2>/dev/null || :
dd if=/dev/zero of="$T/copy" bs=512 seek=$((size / 512 - 1)) count=1 conv=notrunc status=none
assert_same "$A/vm1" "$T/copy"

# Discards: passed on, and zero afterwards, whatever their borders are.
blocks=$(stat -c %b "$T/one.disk")
fallocate -p -o $((2 << 20)) -l $((4 << 20)) "$A/vm1"
fallocate -p -o $((2 << 20)) -l $((4 << 20)) "$T/copy"
after=$(stat -c %b "$T/one.disk")
assert_less "$after" $((blocks - (3 << 20) / 512)) "blocks that the device has left"
for where in "7000000 100" "6999000 5001" "511 2" "$((size - 600)) 600" "6500000 333333" "$((size - 100)) 4000"; do
	fallocate -p -o "${where% *}" -l "${where#* }" "$A/vm1"
	fallocate -p -o "${where% *}" -l "${where#* }" "$T/copy"
	cmp <(whole "$A/vm1") <(whole "$T/copy") || fail "after the discard at $where"
done
fallocate -z -o 1234567 -l 3456 "$A/vm1"
fallocate -z -n -o 1234567 -l 3456 "$T/copy"
fallocate -o 100 -l 4096 "$A/vm1"
must_fail fallocate -o $size -l 4096 "$A/vm1"
must_fail fallocate -z -o $((size - 512)) -l 4096 "$A/vm1"
assert_same "$A/vm1" "$T/copy"

# What an administrator's device does not suffer.
for command in "truncate -s 4M" "truncate -s 16M" "truncate -s 0" "rm -f"; do
	must_fail $command "$A/vm1"
	assert_match "$OUT" '*Operation not permitted*' "$command"
done
assert_match "$(status "$A" .last_error.text)" '*vm1*block device*' "status says why"
must_fail mv "$A/vm1" "$A/other"
must_fail mv -f "$A/plain" "$A/vm1"
truncate -s $size "$A/vm1"
assert_eq "$(ls "$A" | tr '\n' ' ')" "plain vm1 vm2 " "the names"
# Nor a name that is taken by a link that is not shown.
must_fail mv "$A/plain" "$A/dangling"
must_fail touch "$A/to-file"
inode=$(stat -c %i "$A/vm1")

# Nobody else may have the device meanwhile, and none that is in use is taken.
must_fail mount "$one" "$T"
stop "$A"
cmp <(whole "$one") <(whole "$T/copy") || fail "the device is not what was written"
mkfs.ext4 -q "$two"
mkdir "$T/mnt"
mount "$two" "$T/mnt"
must_fail colofs_mount "$AS" "$A"
assert_match "$OUT" '*vm2*in use*' "a mounted device"
umount "$T/mnt"
ln -s "$one" "$AS/vm3"
must_fail colofs_mount "$AS" "$A"
assert_match "$OUT" '*one block device*' "two links"
rm "$AS/vm3" "$AS/vm2"

# Under another name and link it is the same image still; another device behind the link is not.
mv "$AS/vm1" "$AS/renamed"
colofs_mount "$AS" "$A"
assert_eq "$(stat -c %i "$A/renamed")" "$inode" "the image's id under another name"
stop "$A"
losetup -d "$one"
must_fail colofs_mount "$AS" "$A"
assert_match "$OUT" '*renamed*' "a device that is gone"
# By another link, and grown: the same image, as large as the device is now.
truncate -s 12M "$T/one.disk"
make_device one 0
ln -sfn "$DEV" "$AS/renamed"
colofs_mount "$AS" "$A"
assert_eq "$(stat -c '%i %s' "$A/renamed")" "$inode $((12 << 20))" "the same device, grown"
cmp -n $size "$A/renamed" "$T/copy" || fail "what it held"
stop "$A"
losetup -d "$DEV"
truncate -s 12M "$T/other.disk"
losetup "$DEV" "$T/other.disk"
colofs_mount "$AS" "$A"
[ "$(stat -c %i "$A/renamed")" != "$inode" ] || fail "another device passed for the old one"
