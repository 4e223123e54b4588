#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# The primary's own disk fails below its images: its guest gets EIO, as from a raw disk, for that write or that fsync and no
# other; a flush that this disk did not make durable is not acknowledged; and where a write failed the two copies are never
# silently different afterwards, whatever the disk then holds.
. "$(dirname "$0")/../lib.sh" || exit 1
# daemon-may-fail: a disk of its fails, and it says so at its end
. "$TESTS/lib-faults.sh"
require_root
require fio nbdkit nbdfuse qemu-img

NAME=images
faulty_disk images "$AS" 128 EIO
truncate -s 16M "$AS/disk.img"
pair_up "link-timeout=${LINK_TIMEOUT_MS}ms"
dd if=/dev/urandom of="$A/disk.img" bs=1M count=16 oflag=direct conv=notrunc status=none
flush "$A"

writes_fail() { # KIND: direct writes, in the middle of others, some with the disk broken
	fio --name="$1" --filename="$A/disk.img" --rw=randwrite --bs=4k --size=16M --io_size=8M --ioengine=io_uring --iodepth=16 \
		--direct=1 --rate_iops=1000 --continue_on_error=all --output-format=json --output="$T/fio.json" \
		>"$T/fio.log" 2>&1 {TICK}>&- &
	local fio=$! before
	before=$(metric "$A" guest_writes_total)
	wait_for 20 writes_above $((before + 200)) || fail "fio does not write: $(cat "$T/fio.log")"
	disk_breaks images
	wait_for 20 errors_above "$ERRORS" || fail "no write failed"
	disk_mended images
	wait "$fio" || :
	[ "$(jq '.jobs[0].total_err' "$T/fio.json")" -gt 0 ] || fail "the guest was told of no error"
	assert_eq "$(jq '.jobs[0].error' "$T/fio.json")" 5 "the guest's error"
	ERRORS=$(metric "$A" guest_errors_total)
}
writes_above() {
	[ "$(metric "$A" guest_writes_total)" -gt "$1" ]
}
errors_above() {
	[ "$(metric "$A" guest_errors_total)" -gt "$1" ]
}
equal_after_flush() {
	wait_for 30 flush_done || fail "flush: $REPLY_LINE"
	same_images "$A/disk.img" "$B/disk.img"
	assert_eq "$(metric "$A" link_losses_total)" "${1:-0}" "links lost"
}

ERRORS=0
say "direct writes"
writes_fail direct
equal_after_flush

say "one write: the error is its own"
disk_breaks images
must_fail dd if=/dev/urandom of="$A/disk.img" bs=64k count=1 seek=3 oflag=direct conv=notrunc status=none
assert_match "$OUT" "*Input/output error*" "the write"
dd if="$A/disk.img" of=/dev/null bs=64k count=1 iflag=direct status=none
disk_mended images
dd if=/dev/urandom of="$A/disk.img" bs=64k count=1 seek=4 oflag=direct conv=notrunc status=none
equal_after_flush

say "it cannot be read back either: commits go on, status names it, the next session sends it"
disk_breaks images
: >"$T/images.readfault"
must_fail dd if=/dev/urandom of="$A/disk.img" bs=64k count=1 seek=8 oflag=direct conv=notrunc status=none
wait_status "$A" '.last_error.text // "" | test("disk.img, offset 524288: cannot be read")'
[ "$(status "$A" '.images[0].dirty_bytes')" -gt 0 ] || fail "nothing is dirty"
disk_mended images
wait_for 30 flush_done || fail "flush: $REPLY_LINE"
ctl "$A" disconnect
ctl "$A" connect
wait_protected
equal_after_flush 1

say "write-back and fsync"
disk_breaks images
must_fail dd if=/dev/urandom of="$A/disk.img" bs=1000 count=7 seek=700 conv=notrunc,fsync status=none
assert_match "$OUT" "*fsync*Input/output error*" "the guest's fsync"
ctl_fails "$A" flush EIO
say "  flush: $REPLY_LINE"
disk_mended images
# The kernel says it once and takes what was lost for clean: no later fsync may pass for it, until a new mount looks anew.
must_fail dd if=/dev/urandom of="$A/disk.img" bs=1000 count=7 seek=700 conv=notrunc,fsync status=none
ctl_fails "$A" flush EIO
umount "$A" || : # it may say that what the disk holds is uncertain
wait_for 60 gone "$AS" || fail "the primary's daemon does not end"
start_primary
wait_protected
dd if=/dev/urandom of="$A/disk.img" bs=1000 count=7 seek=700 conv=notrunc,fsync status=none # as a guest does who was told
equal_after_flush 0
stop "$A" "$B"
same_images "$AS/disk.img" "$BS/disk.img"
