#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Both were written alone: both refuse, and say so; nobody merges. discard-local makes one of them the loser, which is
# resynced from the other, and not promoted before that without force.
. "$(dirname "$0")/../lib.sh" || exit 1
. "$TESTS/lib-scenes.sh"

scene_pair
write_mb "$A" 1 2 100
flush "$A"
kept_as lost
cable_out
KEPT=$T/kept.lost told "$A" disk.img 3 5
failover "$B"
told "$B" disk.img 30 5
cable_in
wait_status "$A" '.last_error.text | test("split brain")'
wait_status "$B" '.last_error.text | test("split brain")'
# 5 blocks of 4 KiB were written on each side; what is marked is 64 KiB blocks or less.
for m in "$A" "$B"; do
	wait_status "$m" '.last_error.text | test("behind epoch [1-9][0-9]*: here generation [0-9a-f]{16}, epoch [1-9][0-9]*, [1-9][0-9]* bytes")'
	assert_match "$(status "$m" .last_error.text)" "*there *, epoch *, * bytes, *discard-local*"
	for other in "$A" "$B"; do
		assert_match "$(status "$m" .last_error.text)" "*$(status "$other" .generation)*"
	done
done
is_kept "$A" "$T/kept.lost"
is_kept "$B"
exec {guest}<>"$A/disk.img"
ctl_fails "$A" discard-local EBUSY
exec {guest}>&-
in_b ip link set vb down
ctl "$A" discard-local || fail "$REPLY_LINE"
assert_eq "$(status "$A" .role)" backup
ctl_fails "$A" failover ESTALE
must_fail cat "$A/disk.img"
kill9 "$A"
up "$A" primary
assert_eq "$(status "$A" .role)" backup "after a crash"
ctl_fails "$A" failover ESTALE
cable_in
wait_status "$B" .protected
is_kept "$A"
ctl_fails "$B" discard-local EBUSY
end_equal "$B" "$A"
