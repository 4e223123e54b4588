#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Mounted once without the journal= it had, a backup serves nothing and says why; mounted right, all is there again.
. "$(dirname "$0")/../lib.sh" || exit 1
require_root

mkdir -m 700 "$T/journal"
truncate -s 64M "$AS/disk.img"
pair_up "" "journal=$T/journal"
dd if=/dev/urandom of="$A/disk.img" bs=1M count=30 oflag=direct conv=notrunc status=none
flush "$A"
committed=$(sum "$A/disk.img")
kill9 "$B"
kill9 "$A"
start_backup
must_fail cat "$B/disk.img"
assert_match "$(status "$B" .advice)" '*journal=*' "the advice"
ctl "$B" failover && fail "failed over without the journal"
assert_eq "$ERRNO" EAGAIN "failover without the journal"
stop "$B"
start_backup "journal=$T/journal"
assert_eq "$(sum "$B/disk.img")" "$committed" "the last epoch"
failover "$B"
assert_eq "$(sum "$B/disk.img")" "$committed" "after the failover"

say "its segments cut short: none of them is taken for the journal, none stands in the way of a new one"
stop "$B"
rm -r "$AS" "$BS" "$T/journal"
mkdir "$AS" "$BS"
truncate -s 8M "$AS/disk.img"
pair_up
dd if=/dev/urandom of="$A/disk.img" bs=1M count=5 oflag=direct conv=notrunc status=none
flush "$A"
kill9 "$B"
for f in "$BS"/.colofs/journal/*/j* "$BS"/.colofs/journal/*/o*; do
	truncate -s -5000 "$f"
done
start_backup
wait_status "$B" '.images | all(.state == "consistent")' 30
wait_protected
flush "$A"
assert_same "$A/disk.img" "$B/disk.img"
