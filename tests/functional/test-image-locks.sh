#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# flock and byte-range locks work among users of the mount.
. "$(dirname "$0")/../lib.sh" || exit 1
require_root
require sqlite3 flock

truncate -s 1M "$AS/disk.img"
colofs_mount "$AS" "$A"
exec {held}<>"$A/disk.img"
flock "$held"
must_fail flock -n "$A/disk.img" true
exec {held}>&-
flock -n "$A/disk.img" true

# byte-range locks, between two databases' users
sqlite3 "$A/db" 'create table t(n integer)'
coproc HOLDER { sqlite3 "$A/db" 2>&1; }
exec {commands}>&"${HOLDER[1]}"
printf '%s\n' '.timeout 9000' 'begin exclusive;' >&"$commands"
locked() {
	! sqlite3 "$A/db" 'begin immediate; rollback;' >"$T/out" 2>&1
}
wait_for 10 locked || fail "two have locked the same range"
grep -q locked "$T/out" || fail "$(cat "$T/out")"
echo 'commit;' >&"$commands"
wait_for 10 sqlite3 "$A/db" 'insert into t values (1)' 2>/dev/null || fail "the lock stays"
