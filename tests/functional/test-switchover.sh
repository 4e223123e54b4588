#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# switchover swaps the roles without loss, there and back again, many times; it is EBUSY while an image is open for
# writing, and the peer's own writes are dropped by it as by any commit. No disk is sent again.
. "$(dirname "$0")/../lib.sh" || exit 1
require_root
require fio

: "${SWAPS:=10}" "${WRITES:=200}"
random_file "$AS/one.img" 3000001
random_file "$AS/two.img" 1000000
pair_up
sent() {
	echo $(($(metric "$A" sync_sent_bytes_total) + $(metric "$B" sync_sent_bytes_total)))
}
first=$(sent)
ctl_fails "$B" switchover EPERM
exec {guest}<>"$A/one.img"
ctl_fails "$A" switchover EBUSY
exec {guest}>&-
load() { # MNT: a guest, for a while
	fio --name=load --filename="$1/one.img" --rw=randwrite --bs=4k --size=2900000 --io_size=$((WRITES * 4096)) --direct=1 \
		--ioengine=libaio --iodepth=8 --randseed="$RANDOM" --minimal >/dev/null
}
P=$A O=$B # the primary, the other
for ((i = 0; i < SWAPS; i++)); do
	load "$P"
	dd if=/dev/urandom of="$P/new.$i" bs=1k count=50 status=none
	[ "$i" = 0 ] || mv "$P/new.$((i - 1))" "$P/old.$((i - 1))"
	cp "$P/one.img" "$T/one"
	dd if=/dev/zero of="$O/two.img" bs=4k count=3 conv=notrunc status=none
	ctl "$P" switchover || fail "$REPLY_LINE"
	assert_match "$REPLY_LINE" "done epoch=*"
	say "swap $i: $REPLY_LINE"
	[ "$P" = "$A" ] && P=$B O=$A || P=$A O=$B
	wait_status "$P" .protected
	assert_eq "$(status "$P" .role) $(status "$O" .role)" "primary backup" "roles after swap $i"
	assert_same "$P/one.img" "$T/one"
	for f in one.img two.img "new.$i"; do
		assert_same "$P/$f" "$O/$f"
	done
	rm -f "$P/old.$((i - 2))"
	load "$P"
	flush "$P"
	assert_same "$P/one.img" "$O/one.img"
done
assert_less "$(($(sent) - first))" $((SWAPS * 200000)) "bytes that the swaps sent"
stop "$P" "$O"
for f in one.img two.img; do
	assert_same "$AS/$f" "$BS/$f"
done

say "after a reboot fstab's words are the old ones"
start_backup
start_primary
wait_protected
