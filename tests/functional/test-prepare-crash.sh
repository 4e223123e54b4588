#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# A prepared epoch outlives the link and both nodes' crashes: the order given meanwhile is carried out by the next
# session, without one it is aborted there; a failover takes it or drops it.
. "$(dirname "$0")/../lib.sh" || exit 1
require_root

random_file "$AS/disk.img" 2000000
pair_up flush-timeout=5s
next() { # one more write; the image's state in $T/NAME
	dd if=/dev/urandom of="$A/disk.img" bs=4k count=20 seek=$((RANDOM % 300)) conv=notrunc,fsync status=none
	cp "$A/disk.img" "$T/$1"
}
prepare() { # sets N
	ctl "$A" prepare || fail "$REPLY_LINE"
	N=$(reply_value epoch)
}

say "the backup dies; commit is ordered while it is away"
next taken
prepare
next later
kill9 "$B"
wait_status "$A" '.mode == "unprotected"'
start_primary_order() {
	(ctl "$A" "commit $N" && echo "$REPLY_LINE" >"$T/verdict" || echo "$REPLY_LINE" >"$T/verdict") &
	ORDER=$!
}
start_primary_order
wait_for 5 status_is "$A" ".epoch.prepared == $N" || fail "the prepared epoch is forgotten"
start_backup
wait "$ORDER"
assert_match "$(cat "$T/verdict")" "done epoch=$N *"
wait_protected
assert_same "$B/disk.img" "$T/later" # the sync's own commit brought what came behind it

say "no order: it is aborted after flush-timeout, and sent again"
next prepared
prepare
kill9 "$B"
start_backup
wait_protected
ctl_fails "$A" "commit $N" EINVAL
assert_match "$REPLY_LINE" "*abort*"
flush "$A"
assert_same "$B/disk.img" "$T/prepared"

say "the primary dies and knows nothing of it: aborted"
next third
prepare
kill9 "$A"
assert_eq "$(status "$B" .epoch.prepared)" "$N"
start_primary flush-timeout=5s
wait_protected
assert_eq "$(status "$B" .epoch.prepared)" null
assert_same "$B/disk.img" "$A/disk.img"

say "failover keep-prepared takes it, after a crash of the backup too"
next kept
prepare
next lost
kill9 "$A"
kill9 "$B"
start_backup
assert_eq "$(status "$B" .epoch.prepared)" "$N" "prepared, after a crash"
dd if=/dev/zero of="$B/disk.img" bs=4k count=1 conv=notrunc status=none
ctl_fails "$B" "failover epoch=$N" ESTALE
failover "$B" "keep-prepared epoch=$N"
assert_eq "$(reply_value epoch)" "$N"
assert_same "$B/disk.img" "$T/kept"
kill9 "$B"
colofs_mount "$BS" "$B" "role=primary,listen=127.0.0.1:$PEER_PORT,tls=$T/certs/b,peer-name=a"
assert_same "$B/disk.img" "$T/kept"
