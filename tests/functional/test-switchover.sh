#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# switchover swaps the roles without loss, there and back again, many times, under load before and after each, both copies
# compared with what the guest was told; it is EBUSY while an image is open for writing, and the peer's own writes are dropped
# by it as by any commit. No disk is sent again.
. "$(dirname "$0")/../lib.sh" || exit 1
. "$TESTS/lib-scenes.sh"
require_root

: "${SWAPS:=10}" "${WRITES:=200}"
random_file "$AS/one.img" 3000001
random_file "$AS/two.img" 1000000
mkdir "$KEPT"
cp "$AS"/*.img "$KEPT"
pair_up
sent() {
	echo $(($(metric "$A" sync_sent_bytes_total) + $(metric "$B" sync_sent_bytes_total)))
}
first=$(sent)
ctl_fails "$B" switchover EPERM
exec {guest}<>"$A/one.img"
ctl_fails "$A" switchover EBUSY
exec {guest}>&-
load() { # MNT: a guest, for a while; names change too
	write_mb "$1" 0 2 "$WRITES" one.img
	random_file "$T/new" 50000
	rm -f "$1/old.img" "$KEPT/old.img"
	for d in "$1" "$KEPT"; do
		[ ! -e "$d/new.img" ] || mv "$d/new.img" "$d/old.img"
		cp "$T/new" "$d/new.img"
	done
}
P=$A O=$B # the primary, the other
for ((i = 0; i < SWAPS; i++)); do
	load "$P"
	dd if=/dev/zero of="$O/two.img" bs=4k count=3 conv=notrunc status=none
	ctl "$P" switchover || fail "$REPLY_LINE"
	assert_match "$REPLY_LINE" "done epoch=*"
	say "swap $i: $REPLY_LINE"
	[ "$P" = "$A" ] && P=$B O=$A || P=$A O=$B
	wait_status "$P" .protected
	assert_eq "$(status "$P" .role) $(status "$O" .role)" "primary backup" "roles after swap $i"
	is_kept "$P"
	is_kept "$O"
	load "$P"
	flush "$P"
	is_kept "$P"
	is_kept "$O"
done
assert_less "$(($(sent) - first))" $((SWAPS * 200000)) "bytes that the swaps sent"
stop "$P" "$O"
is_kept "$AS"
is_kept "$BS"

say "after a reboot fstab's words are the old ones"
start_backup
start_primary
wait_protected
is_kept "$A"
is_kept "$B"
