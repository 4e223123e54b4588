#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# The cable is out and in again, several times, and then the link is dropped by order: what goes over the wire is the dirty
# bytes rounded to 64 KiB blocks and 2 %, a discard no data at all. resync full then finds both copies equal.
. "$(dirname "$0")/../lib.sh" || exit 1
. "$TESTS/lib-scenes.sh"

sent() {
	metric "$A" link_sent_bytes_total
}
BLOCKS=32
apart() { # while it is: a whole MiB and a page each in 16 others of BLOCKS blocks of 64 KiB, and 1 MiB discarded
	local i f
	write_mb "$A" 8 1 300
	for ((i = 0; i < 16; i++)); do
		told "$A" disk.img $((9 * 256 + i * 96)) 1
	done
	for f in "$A" "$KEPT"; do
		fallocate -p -o $((3 << 20)) -l $((1 << 20)) "$f/disk.img"
	done
}
HASHED=0
delta_is_brief() { # BLOCKS BEFORE
	wait_protected
	local moved=$(($(sent) - $2)) limit=$(($1 * 65536 * 102 / 100))
	say "  $moved bytes moved, $limit allowed"
	assert_less "$moved" $((limit + 1)) "bytes moved"
	local hashed # what the backup kept of the cut session is compared, and of nothing else
	hashed=$(metric "$A" sync_hashed_bytes_total)
	assert_less $((hashed - HASHED)) $(($1 * 65536 + 1)) "bytes compared: what is dirty is known"
	HASHED=$hashed
	is_kept "$A"
	is_kept "$B"
}

scene_pair
write_mb "$A" 1 4 300
flush "$A"
for round in 1 2; do
	say "out and in, $round"
	write_mb "$A" 12 1 200 # sent and not committed: as good as lost
	cable_out
	apart
	before=$(sent)
	cable_in
	delta_is_brief $((BLOCKS + 16)) "$before"
	flush "$A"
done

say "disconnect, connect"
ctl "$B" disconnect || fail "$REPLY_LINE"
wait_status "$A" '.protected | not'
ctl_fails "$A" flush ENOTCONN
apart
before=$(sent)
ctl "$B" connect || fail "$REPLY_LINE"
delta_is_brief $BLOCKS "$before"

say "resync full: everything is compared, nothing sent"
before=$(metric "$A" sync_sent_bytes_total)
ctl "$A" "resync full" || fail "$REPLY_LINE"
wait_protected
[ "$(metric "$A" sync_hashed_bytes_total)" -ge 3000001 ] || fail "not everything was compared"
assert_eq "$(metric "$A" sync_sent_bytes_total)" "$before" "bytes sent by a resync of equal copies"
end_equal "$A" "$B"
