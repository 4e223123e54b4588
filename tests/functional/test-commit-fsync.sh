#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# commit=fsync: a guest's fsync returns when the peer has committed what was written before it, while the pair is
# protected; without a peer, and with one that is silent, this node's disk alone counts. prepare excludes it.
. "$(dirname "$0")/../lib.sh" || exit 1
require_root

random_file "$AS/disk.img" 1000000
pair_up commit=fsync,flush-timeout=3s,link-timeout=2s
write() { # SEEK: four blocks, then fsync
	dd if=/dev/urandom of="$A/disk.img" bs=4k count=4 seek="$1" conv=notrunc,fsync status=none
}
for i in 1 20 40; do
	commits=$(metric "$A" commits_total)
	write "$i"
	assert_same "$B/disk.img" "$A/disk.img"
	[ "$(metric "$A" commits_total)" -gt "$commits" ] || fail "no commit by fsync"
done
ctl_fails "$A" prepare EPERM

say "changed while mounted"
ctl "$A" "set commit manual" || fail "$REPLY_LINE"
cp "$B/disk.img" "$T/committed"
write 60
assert_same "$B/disk.img" "$T/committed"
ctl "$A" "set commit fsync" || fail "$REPLY_LINE"
write 80
assert_same "$B/disk.img" "$A/disk.img"
ctl_fails "$A" "set commit nonsense" EINVAL
ctl_fails "$A" "set role backup" EINVAL

say "a silent backup holds a guest's fsync for link-timeout, and gives it no error"
kill -STOP "$(daemon_of "$B")"
write 100
wait_status "$A" '.mode == "unprotected"'
write 120
kill -CONT "$(daemon_of "$B")"
wait_protected
write 140
assert_same "$B/disk.img" "$A/disk.img"
