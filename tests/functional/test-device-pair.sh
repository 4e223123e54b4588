#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# A pair whose image vm1 is a file on one node and a block device on the other, and one with devices on both: first sync,
# commit, the twin's writes, discards, a killed backup, failover, and the way back to a pair. Every time both copies are
# compared with one that is kept apart.
. "$(dirname "$0")/../lib.sh" || exit 1
require_root
require losetup fallocate

size=$((8 << 20))
keep=$T/keep
# The same to image and copy: a few writes, some of them across blocks, and discards.
change() {
	local i off len
	for i in {1..6}; do
		off=$((RANDOM * RANDOM % (size - 600000))) len=$((1 + RANDOM * 16 % 600000))
		[ $((i % 2)) = 0 ] || off=$((off & ~4095)) len=$(((len + 4095) & ~4095))
		random_file "$T/piece" $len
		dd if="$T/piece" of="$1/vm1" bs=1M oflag=seek_bytes seek=$off conv=notrunc status=none
		dd if="$T/piece" of="$keep" bs=1M oflag=seek_bytes seek=$off conv=notrunc status=none
		off=$((RANDOM * RANDOM % (size - 600000))) len=$((1 + RANDOM * 16 % 600000))
		fallocate -p -o $off -l $len "$1/vm1"
		fallocate -p -o $off -l $len "$keep"
	done
	random_file "$T/piece" 300000
	cp "$T/piece" "$1/side"
}
is_kept() { # FILE WHAT
	cmp <(whole "$1") "$keep" || fail "$kinds: $2"
}
image() { # SOURCE KIND NAME: vm1 there
	rm -f "$T/$3.disk"
	[ "$2" = file ] && return
	make_device "$3" $size
	head -c $size /dev/urandom >"$T/$3.disk" # of another life: none of it may be seen
	blockdev --flushbufs "$DEV"
	ln -s "$DEV" "$1/vm1"
}

round() { # KIND-A KIND-B
	local before
	kinds="$1 -> $2"
	say "$kinds"
	rm -rf "$AS" "$BS"
	mkdir "$AS" "$BS"
	image "$AS" "$1" a
	image "$BS" "$2" b
	rm -f "$keep"
	truncate -s $size "$keep"
	dd if=/dev/urandom of="$keep" bs=1M count=3 seek=2 conv=notrunc status=none
	cp "$keep" "$AS/vm1"
	random_file "$AS/side" 100000

	# First contact: what is on the device is somebody's until overwrite=yes says that it is not.
	if [ "$2" = device ]; then
		before=$(sum "$T/b.disk")
		start_backup
		start_primary
		wait_status "$A" '.last_error.text // "" | test("overwrite")'
		assert_eq "$(sum "$T/b.disk")" "$before" "the device, before overwrite=yes"
		stop "$A" "$B"
	fi
	start_backup overwrite=yes
	start_primary
	wait_protected
	is_kept "$B/vm1" "after the first sync"
	if [ "$2" = file ]; then # zeroes on a device are holes in a file
		wait_for 20 test -f "$BS/vm1" || fail "$kinds: the backup's file has no name"
		assert_less "$(stat -c %b "$BS/vm1")" $(((4 << 20) / 512)) "$kinds: blocks of the backup's file"
	fi

	# Epochs: nothing before the flush, all after it; the twin's writes go with it.
	cp "$keep" "$T/old"
	change "$A"
	wait_status "$A" '.pending.bytes == 0'
	cmp <(whole "$B/vm1") "$T/old" || fail "$kinds: an uncommitted write is seen"
	dd if=/dev/urandom of="$B/vm1" bs=100000 seek=3 count=2 conv=notrunc status=none
	fallocate -p -o 1000000 -l 777777 "$B/vm1"
	[ "$2" != device ] || must_fail truncate -s 1M "$B/vm1"
	flush "$A"
	is_kept "$B/vm1" "after a flush"
	assert_same "$A/side" "$B/side"

	# Killed with sealed epochs in the journal, three times over.
	for _ in 1 2 3; do
		change "$A"
		flush "$A"
		kill9 "$B"
		change "$A" # what a resync has to bring
		start_backup
		wait_protected
	done
	flush "$A"
	is_kept "$B/vm1" "after the backup was killed"
	until ctl "$A" "verify vm1"; do # a child of this shell that ends late interrupts it
		[ "$ERRNO" = EINTR ] || fail "verify: $REPLY_LINE"
	done
	assert_eq "$(reply_value differ)" 0 "$kinds: blocks that verify finds unequal"

	# In order: both disks hold it, and the name is where it was.
	stop "$B"
	is_kept "$BS/vm1" "the backup's disk, after umount"
	[ "$2" = file ] || [ -L "$BS/vm1" ] || fail "$kinds: the link is gone"
	start_backup
	wait_protected

	# The primary dies; the twin goes on, at once and after a restart.
	change "$A"
	flush "$A"
	cp "$keep" "$T/committed"
	change "$A"
	kill9 "$A"
	cp "$T/committed" "$keep"
	wait_status "$B" '.link.state != "up"'
	failover "$B"
	is_kept "$B/vm1" "after the failover"
	change "$B"
	is_kept "$B/vm1" "written after the failover"
	[ "$2" != device ] || must_fail rm -f "$B/vm1"
	kill9 "$B"
	colofs_mount "$BS" "$B" "role=primary,listen=127.0.0.1:$PEER_PORT,tls=$T/certs/b,peer-name=a"
	is_kept "$B/vm1" "the promoted node, killed and mounted again"

	# A new peer on the old host.
	rm -rf "$AS"
	mkdir "$AS"
	[ "$1" = file ] || ln -s "$(losetup -nO NAME -j "$T/a.disk" | tr -d ' ')" "$AS/vm1"
	colofs_mount "$AS" "$A" "role=backup,peer=127.0.0.1:$PEER_PORT,tls=$T/certs/a,overwrite=yes"
	wait_protected() { wait_status "$B" .protected 60; }
	wait_protected
	change "$B"
	flush "$B"
	is_kept "$A/vm1" "the new backup"
	stop "$B" "$A"
	is_kept "$AS/vm1" "the new backup's disk"
	is_kept "$BS/vm1" "the new primary's disk"
	wait_protected() { wait_status "$A" .protected "${1:-60}"; }
	[ "$1" = file ] || losetup -d "$(readlink "$AS/vm1")"
	[ "$2" = file ] || losetup -d "$(readlink "$BS/vm1")"
}

# Sanitized it takes four times as long; the backup's device is what has code of its own.
[ -z "${COLOFS_ORDERLY_END:-}" ] || PAIRS=${PAIRS:-file:device}
for pair in ${PAIRS:-file:device device:file device:device}; do
	round "${pair%:*}" "${pair#*:}"
done
