#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# A backup's device that cannot be the primary's image ends in a refusal that names it, with nothing written: one that is
# too small or too large, one whose image is another by now, one that a new image of the primary's happens to be named
# after. Each is followed by what its administrator does, and then the pair works.
. "$(dirname "$0")/../lib.sh" || exit 1
require_root
require losetup

count=0
refused() { # PATTERN-IN-THE-BACKUP'S-STATUS WHAT
	wait_status "$B" ".reason | test(\"$1\")"
	wait_status "$A" '.last_error.text | test("block device")'
	assert_eq "$(status "$A" .protected)" false "protected, $2"
}
untouched() { # WHAT
	assert_eq "$(sum "$disk")" "$before" "the device, $1"
}
again() { # no waiting for the next of its tries
	ctl "$A" disconnect && ctl "$A" connect || fail "$REPLY_LINE"
}
backup() { # [OPTIONS]
	start_backup "$@"
	again
}
healed() {
	again
	wait_protected
}
new_device() { # BYTES: in vm1's place
	[ ! -L "$BS/vm1" ] || losetup -d "$(readlink "$BS/vm1")"
	rm -f "$BS/vm1"
	disk=$T/dev$((count += 1)).disk
	random_file "$disk" "$1"
	make_device "dev$count" 0
	ln -s "$DEV" "$BS/vm1"
	before=$(sum "$disk")
}

random_file "$AS/vm1" $((4 << 20))
start_primary
for size in $(((4 << 20) - 512)) $((5 << 20)); do
	new_device "$size"
	backup overwrite=yes
	refused "vm1.*$size.*$((4 << 20))" "a device of $size bytes"
	stop "$B"
	untouched "of $size bytes"
done
new_device $((4 << 20))
backup overwrite=yes
wait_protected
assert_same "$A/vm1" "$B/vm1"
# Not the pair's, and its name is no image's: it stays what it is, and is not shown.
stop "$B"
random_file "$T/aside.disk" $((1 << 20))
make_device aside 0
ln -s "$DEV" "$BS/vm2"
backup
wait_protected
assert_eq "$(ls "$B")" vm1 "what is shown"

# The primary makes an image of that name, now, and by renaming another.
random_file "$A/vm2" $((1 << 20))
again
refused "vm2.*overwrite=yes" "a device of another origin"
aside=$(sum "$T/aside.disk")
stop "$B"
backup
refused "vm2.*overwrite=yes" "a device of another origin, mounted again"
rm "$A/vm2"
healed
random_file "$A/vm3" $((1 << 20))
flush "$A"
mv "$A/vm3" "$A/vm2"
again
refused "vm2.*remove its link" "a rename to a device's name"
mv "$A/vm2" "$A/vm3"
healed
flush "$A"
assert_same "$A/vm3" "$B/vm3"
assert_eq "$(sum "$T/aside.disk")" "$aside" "the other device"
rm "$A/vm3"

# The primary's image changes its size under the device: guests go on, the pair waits for an equal one.
truncate -s 6M "$A/vm1"
if ctl "$A" flush; then
	fail "a size was committed that the device has not"
fi
again
refused "vm1.*$((4 << 20)).*$((6 << 20))" "the image was made longer"
assert_eq "$(status "$B" .mode)" backup "the backup's mode"
truncate -s 1M "$A/vm1"
again
refused "vm1.*$((4 << 20)).*$((1 << 20))" "the image was made shorter"
truncate -s 4M "$A/vm1"
healed
flush "$A"
assert_same "$A/vm1" "$B/vm1"
truncate -s 6M "$A/vm1"
again
refused "vm1.*$((4 << 20)).*$((6 << 20))" "the image was made longer again"
stop "$B"
truncate -s 6M "$disk" # as lvextend would
losetup -c "$(readlink "$BS/vm1")"
backup
wait_protected
dd if=/dev/urandom of="$A/vm1" bs=1M seek=5 count=1 conv=notrunc status=none
flush "$A"
assert_same "$A/vm1" "$B/vm1"

# Another device behind the backup's link: not taken for the copy.
stop "$B"
new_device $((6 << 20))
backup
refused "vm1.*overwrite=yes" "another device"
untouched "exchanged"
assert_eq "$(status "$B" '.images[] | select(.name == "vm1") | .state')" inconsistent "the image whose device is gone"
stop "$B"
backup overwrite=yes
wait_protected
assert_same "$A/vm1" "$B/vm1"

# A new image of that name, made while the backup was away: what the device holds of the old one is not overwritten.
flush "$A"
stop "$B"
before=$(sum "$disk")
rm "$A/vm1"
random_file "$A/vm1" $((6 << 20))
backup overwrite=yes
refused "vm1.*new one" "a device that holds the old image"
assert_eq "$(sum "$B/vm1")" "$before" "the old image, on the backup"
stop "$B"
untouched "of the old image"
rm -r "$BS/.colofs"
backup overwrite=yes
wait_protected
assert_same "$A/vm1" "$B/vm1"
