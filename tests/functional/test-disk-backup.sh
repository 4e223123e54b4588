#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# The backup's disk fails, below its journal and below its images: EIO, ENOSPC, a failed flush. The primary's guest sees no
# error and no stall, no flush is acknowledged that is not durable, the backup says what is wrong and keeps its epoch; with
# the disk mended, and mounted again where it had failed, the pair is protected and equal.
# daemon-may-fail: a disk of its fails, and it says so at its end
. "$(dirname "$0")/../lib.sh" || exit 1
. "$TESTS/lib-faults.sh"
require_root
require fio nbdkit nbdfuse qemu-img

mount -t tmpfs -o mode=700 none "$AS" # a stall is never this disk's
truncate -s ${IMAGE_MB}M "$AS/disk.img"

pair_on() { # NAME WHERE(journal|images) ERROR MEGABYTES: a new backup, its disk below WHERE
	say "$1"
	NAME=$1
	BS=$T/$1.src
	mkdir -m 700 "$BS" "$T/$1.journal"
	case $2 in
	journal) faulty_disk "$1" "$T/$1.journal" "$4" "$3" ;;
	images) faulty_disk "$1" "$BS" "$4" "$3" ;;
	esac
	rm -rf "$AS/.colofs"
	B_OPTIONS=journal=$T/$1.journal,journal-size=${5:-64M}
	pair_up "link-timeout=${LINK_TIMEOUT_MS}ms" "$B_OPTIONS"
	dd if=/dev/urandom of="$A/disk.img" bs=64k count=4 oflag=direct conv=notrunc status=none
	flush "$A"
	EPOCH=$(reply_value epoch)
	wait_status "$B" '.journal.sealed == 0'
}
failed_because() { # PATTERN(glob)
	wait_status "$B" '.mode == "failed"'
	assert_match "$(status "$B" .reason)" "$1" "the backup's reason"
	disk_was_hit "$NAME" || fail "the disk had nothing to fail"
	wait_status "$A" '.mode == "unprotected" and (.protected | not)'
	say "  $(status "$B" .reason)"
}
healed() { # [again]: after umount and mount
	disk_mended "$NAME"
	if [ -n "${1:-}" ]; then
		umount "$B" 2>/dev/null || : # it says that not all of it could be destaged
		wait_for 60 gone "$BS" || fail "the backup does not end"
		start_backup "$B_OPTIONS"
	fi
	# Segments that went to a full disk come back some seconds later: till then an epoch may be refused.
	wait_for 90 flush_done || fail "flush: $REPLY_LINE"
	wait_protected
	same_images "$A/disk.img" "$B/disk.img"
	stop "$A" "$B"
	same_images "$AS/disk.img" "$BS/disk.img"
}
# The flush that meets the fault is not acknowledged; nothing was written since but what it would have committed.
flush_refused() {
	disk_breaks "$NAME"
	dd if=/dev/urandom of="$A/disk.img" bs=64k count=4 seek=8 oflag=direct conv=notrunc status=none
	ctl_fails "$A" flush EIO
	say "  flush: $REPLY_LINE"
}

for error in EIO ENOSPC FLUSH; do
	# (a small journal for the disk that is a process each)
	if [ $error = FLUSH ]; then
		pair_on journal-$error journal $error 48 16M
	else
		pair_on journal-$error journal $error 128
	fi
	flush_refused
	failed_because "*journal*"
	assert_eq "$(status "$B" .epoch.committed)" "$EPOCH" "the backup's epoch"
	healed again
done

pair_on journal-load journal EIO 128
load_start
load_passes 1
disk_breaks "$NAME"
failed_because "*journal*"
load_passes 1
must_fail dd if="$B/disk.img" of=/dev/null bs=4k count=1 status=none
load_stop
healed again

pair_on images-EIO images EIO 128
load_start
load_passes 1
disk_breaks "$NAME"
ctl "$A" flush || say "  flush: $REPLY_LINE"
failed_because "*destaging*"
load_passes 1
load_stop
healed again

pair_on images-ENOSPC images ENOSPC 128
load_start
load_passes 1
disk_breaks "$NAME"
flush "$A" # the journal has it; it is the images that wait
wait_for 20 disk_was_hit "$NAME" || fail "the disk had nothing to fail"
wait_status "$B" '.last_error.text // "" | test("destaging waits")'
load_passes 2
load_stop
assert_eq "$(status "$B" .mode)" backup "the backup's mode"
assert_eq "$(metric "$A" link_losses_total)" 0 "links lost"
healed
