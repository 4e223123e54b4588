#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# verify finds a byte flipped in either copy's image file and names image and offset; resync mends it; while guests
# write with all their might it finds nothing.
. "$(dirname "$0")/../lib.sh" || exit 1
require_root
require fio

: "${SECONDS_OF_LOAD:=10}"
random_file "$AS/one.img" 3000001
truncate -s 64M "$AS/two.img"
pair_up
ctl_fails "$B" verify EPERM
ctl_fails "$A" "verify no-such-image" EINVAL
ctl "$A" verify || fail "$REPLY_LINE"
assert_match "$REPLY_LINE" "done blocks=1070 differ=0 ms=*"
flip() { # FILE OFFSET: behind the daemons' backs
	local byte
	byte=$(od -An -tu1 -j "$2" -N 1 "$1")
	printf "\\x$(printf %02x $((byte ^ 1)))" | dd of="$1" bs=1 seek="$2" conv=notrunc,fsync status=none
}
destaged() {
	status_is "$B" '.journal.sealed == 0' && cmp -s "$BS/one.img" "$AS/one.img"
}

say "a flipped byte in the backup's file"
wait_for 20 destaged || fail "the backup's file never became the image"
flip "$BS/one.img" 2500000
ctl "$A" "verify one.img" || fail "$REPLY_LINE"
assert_match "$REPLY_LINE" "done blocks=46 differ=1 ms=*"
assert_match "$(status "$A" .last_error.text)" "*one.img*offset $((2500000 / 65536 * 65536)) *"
assert_match "$(status "$A" .advice)" "*resync*"
[ "$(status "$A" '.images[] | select(.name == "one.img").dirty_bytes')" -gt 0 ] || fail "it is not marked"
ctl "$A" resync || fail "$REPLY_LINE"
wait_status "$A" .protected
assert_same "$B/one.img" "$A/one.img"
ctl "$A" verify
assert_match "$REPLY_LINE" "* differ=0 *"

say "a flipped byte in the primary's file: the primary's copy is the one that counts"
flip "$AS/one.img" 70000
ctl "$A" verify
assert_match "$REPLY_LINE" "* differ=1 *"
ctl "$A" "resync full" || fail "$REPLY_LINE"
wait_status "$A" .protected
assert_same "$B/one.img" "$A/one.img"
ctl "$A" verify
assert_match "$REPLY_LINE" "* differ=0 *"

say "no false positive under load"
fio --name=load --filename="$A/two.img" --size=64M --rw=randwrite --bsrange=512-256k --bs_unaligned=0 --blockalign=512 \
	--ioengine=io_uring --iodepth=16 --direct=1 --time_based --runtime="$SECONDS_OF_LOAD" >"$T/fio.log" 2>&1 &
LOAD=$!
rounds=0
while kill -0 "$LOAD" 2>/dev/null; do
	# not by this shell: the end of fio would interrupt it
	assert_match "$(colofsctl verify "$A")" "* differ=0 *"
	[ $((rounds++ % 3)) != 0 ] || colofsctl flush "$A" >/dev/null
done
wait "$LOAD" || fail "$(cat "$T/fio.log")"
[ "$rounds" -gt 1 ] || fail "only $rounds rounds"
say "$rounds rounds under load, $(metric "$A" verified_bytes_total) bytes compared"
