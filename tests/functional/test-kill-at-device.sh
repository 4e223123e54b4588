#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# A backup whose images are block devices, killed: in the middle of a first sync, between the two steps that make a device
# the image's, and at each STEPth io_uring_enter of a short life, as in kill-at-backup.
# not-sanitized: the leak check does not work under strace
. "$(dirname "$0")/../lib.sh" || exit 1
. "$TESTS/lib-kill.sh"
require_root
require losetup
kill_setup

KILL_B=overwrite=yes
kill_prepare() { # of another life: none of it may be seen
	local i
	for i in one two; do
		random_file "$T/content" $((512 << 10))
		dd if="$T/content" of="$T/$i.disk" conv=notrunc status=none
		[ -b "$T/$i.dev" ] || { make_device "$i" 0 && ln -s "$DEV" "$T/$i.dev"; }
		blockdev --flushbufs "$T/$i.dev"
		ln -s "$T/$i.dev" "$BS/$i.img"
	done
}
kill_fresh

# A first sync that takes a while, cut; both links are hidden then. One is put back where it was: so a crash behind the
# first step of the adoption leaves it.
random_file "$AS/one.img" $((512 << 10))
cp "$AS/one.img" "$T/kept"
start_backup "$KILL_B"
start_primary resync-rate=64K
hidden() {
	[ "$(find "$BS/.colofs" -type l -name 'i*' | wc -l)" = 2 ]
}
wait_for 20 hidden || fail "the devices are not adopted: $(ls -l "$BS" "$BS/.colofs")"
must_fail dd if="$B/one.img" of=/dev/null status=none
kill9 "$B"
assert_eq "$(status "$A" .protected)" false "protected, in the middle of the first sync"
for link in "$BS"/.colofs/i*; do
	case $(readlink "$link") in */one.dev) mv "$link" "$BS/one.img" ;; esac
done
start_backup "$KILL_B"
ctl "$A" "set resync-rate 0" || fail "$REPLY_LINE"
wait_protected
cmp "$B/one.img" "$T/kept" || fail "one.img differs behind a cut first sync"
assert_same "$A/two.img" "$B/two.img"
stop "$B" "$A"
cmp "$BS/one.img" "$T/kept" || fail "one.img's device differs"

: "${STEP:=80}" "${OFFSET:=$((1 + RANDOM % STEP))}"
for series in new again; do
	kill_fresh
	kill_series b "$series" "$STEP" "$OFFSET"
done
[ "$KILLED" -gt 0 ] || fail "nothing was killed"
say "$KILLED kills; $IN_FLIGHT times the epoch in flight had become durable"
