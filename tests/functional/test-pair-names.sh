#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# create, unlink, rename, truncate and holes are replicated like data, in the same epoch.
. "$(dirname "$0")/../lib.sh" || exit 1
require_root

for f in keep gone old replaced; do
	random_file "$AS/$f" 300000
done
pair_up
exec {held}<"$B/gone"
random_file "$A/new" 123457
rm "$A/gone"
mv "$A/old" "$A/renamed"
mv -f "$A/keep" "$A/replaced"
truncate -s 1000 "$A/renamed"
truncate -s 5000000 "$A/new"
random_file "$A/again" 1000
rm "$A/again"
random_file "$A/again" 70000
wait_status "$A" '.pending.bytes == 0'
assert_eq "$(ls "$B" | tr '\n' ' ')" "gone keep old replaced " "names before the flush"
flush "$A"
assert_eq "$(ls "$B" | tr '\n' ' ')" "again new renamed replaced " "names after the flush"
for f in again new renamed replaced; do
	assert_same "$A/$f" "$B/$f"
done
exec {held}<&-
kill9 "$B"
start_backup
for f in again new renamed replaced; do
	assert_same "$A/$f" "$B/$f"
done
wait_protected
mv "$A/new" "$A/swap"
mv "$A/again" "$A/new"
mv "$A/swap" "$A/again"
flush "$A"
stop "$A" "$B"
assert_eq "$(ls "$BS" | tr '\n' ' ')" "again new renamed replaced " "names of the files"
for f in again new renamed replaced; do
	assert_same "$AS/$f" "$BS/$f"
done
