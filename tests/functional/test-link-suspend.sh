#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# on-link-loss=suspend: without its peer the primary holds guest writes, visibly; they go on when writes are mirrored
# again, or by `continue`; umount fails them with EIO. Reads go on. With commit=fsync nothing that was fsynced is lost.
. "$(dirname "$0")/../lib.sh" || exit 1
require_root

random_file "$AS/disk.img" 1000000
pair_up on-link-loss=suspend,link-timeout=1s,commit=fsync
held() {
	[ "$(metric "$A" guest_writes_held)" -gt 0 ]
}
write() { # SEEK, in the background: $T/wrote.SEEK says that it came back
	(dd if=/dev/urandom of="$A/disk.img" bs=4k count=4 seek="$1" conv=notrunc,fsync status=none && touch "$T/wrote.$1") 2>>"$T/writes.log" &
}
write 3
wait_for 10 test -e "$T/wrote.3" || fail "a protected write"

say "held without the peer, released by its return"
kill9 "$B"
wait_status "$A" '.mode == "unprotected"'
write 20
wait_for 10 held || fail "the write is not held"
[ ! -e "$T/wrote.20" ] || fail "a write was acknowledged on one node"
dd if="$A/disk.img" of=/dev/null bs=1M iflag=direct status=none || fail "a read while writes are held"
status_is "$A" '.advice | test("held")' || fail "status does not say that writes are held"
start_backup
wait_for 20 test -e "$T/wrote.20" || fail "the write is held although the peer is back"
assert_same "$B/disk.img" "$A/disk.img" # what is fsynced is committed, also in a sync
wait_protected
write 40
wait_for 10 test -e "$T/wrote.40" || fail "a protected write"
cp "$A/disk.img" "$T/fsynced"

say "an fsync alone is held, and status says how to go on"
kill9 "$B"
wait_status "$A" '.mode == "unprotected"'
(sync "$A/disk.img" && touch "$T/synced") &
wait_status "$A" '.advice != null and (.advice | test("held.*`continue` goes on"))'
[ ! -e "$T/synced" ] || fail "an fsync was acknowledged on one node"
ctl "$A" continue || fail "$REPLY_LINE"
wait_for 10 test -e "$T/synced" || fail "the fsync is held although continue was said"
start_backup
wait_protected

say "released by continue, until the peer was there again"
kill9 "$B"
wait_status "$A" '.mode == "unprotected"'
write 60
wait_for 10 held || fail "the write is not held"
ctl "$A" continue || fail "$REPLY_LINE"
wait_for 10 test -e "$T/wrote.60" || fail "the write is held although continue was said"
assert_eq "$(metric "$A" guest_writes_held)" 0 "held writes"
start_backup
ctl_fails "$B" continue EPERM
wait_protected
cp "$A/disk.img" "$T/fsynced"
kill9 "$B"
wait_status "$A" '.mode == "unprotected"'
write 80
wait_for 10 held || fail "held again after the next loss"

say "the end of the daemon fails held writes; what was fsynced is on the peer"
kill -TERM "$(daemon_of "$A")"
wait_for 20 gone "$AS" || fail "the daemon does not end"
[ ! -e "$T/wrote.80" ] || fail "a held write was acknowledged at the end"
grep -q "Input/output error" "$T/writes.log" || fail "no EIO: $(cat "$T/writes.log")"
start_backup
failover "$B" drop-overlay
assert_same "$B/disk.img" "$T/fsynced"
