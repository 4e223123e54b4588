#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# failover is EBUSY while the link is up, unless forced (then the primary serves no more); EAGAIN before any
# commit, forced or not; EPERM on a primary.
# daemon-may-fail: a primary that a forced failover stopped says so at its end
. "$(dirname "$0")/../lib.sh" || exit 1
require_root

start_backup
ctl_fails "$B" failover EAGAIN
ctl_fails "$B" "failover force" EAGAIN
random_file "$AS/disk.img" 1000000
start_primary
wait_protected
ctl_fails "$B" failover EBUSY
ctl_fails "$A" failover EPERM
ctl_fails "$B" flush EPERM
flush "$A"
cp "$A/disk.img" "$T/disk"
exec {guest}<>"$A/disk.img"
failover "$B" force
assert_same "$B/disk.img" "$T/disk"
dd if=/dev/urandom of="$B/disk.img" bs=4k count=3 conv=notrunc status=none
wait_for 10 status_is "$A" '.protected | not' || fail "the old primary still calls itself protected"
export guest
must_fail bash -c 'dd if=/dev/zero bs=4k count=1 status=none >&"$guest"'
[[ $OUT =~ 'Input/output error'|'Stale file handle' ]] || fail "$OUT: a write of the deposed primary's guest"
exec {guest}>&-
