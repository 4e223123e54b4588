#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Both were written alone: both refuse, and say so; nobody merges. discard-local makes one of them the loser, which is
# resynced from the other, and not promoted before that without force.
. "$(dirname "$0")/../lib.sh" || exit 1
require_root
private_network "$@"

random_file "$AS/disk.img" 3000001
pair_up link-timeout=1s link-timeout=1s
flush "$A"
cut_link
wait_status "$A" '.mode == "unprotected"'
wait_status "$B" '.link.state != "up"'
dd if=/dev/urandom of="$A/disk.img" bs=4k count=5 seek=3 conv=notrunc,fsync status=none
failover "$B"
dd if=/dev/urandom of="$B/disk.img" bs=4k count=5 seek=30 conv=notrunc,fsync status=none
cp "$A/disk.img" "$T/a.copy"
cp "$B/disk.img" "$T/b.copy"
heal_link
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
assert_same "$A/disk.img" "$T/a.copy"
assert_same "$B/disk.img" "$T/b.copy"
exec {guest}<>"$A/disk.img"
ctl_fails "$A" discard-local EBUSY
exec {guest}>&-
cut_link
ctl "$A" discard-local || fail "$REPLY_LINE"
assert_eq "$(status "$A" .role)" backup
ctl_fails "$A" failover ESTALE
must_fail cat "$A/disk.img"
kill9 "$A"
start_primary link-timeout=1s
assert_eq "$(status "$A" .role)" backup "after a crash"
ctl_fails "$A" failover ESTALE
heal_link
wait_status "$B" .protected
assert_same "$A/disk.img" "$T/b.copy"
assert_same "$B/disk.img" "$T/b.copy"
ctl_fails "$B" discard-local EBUSY
