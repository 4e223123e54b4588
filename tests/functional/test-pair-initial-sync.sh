#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# The first sync: images that are there before go over, holes stay holes, guests write meanwhile; it ends
# with a commit of its own and then the pair is protected.
. "$(dirname "$0")/../lib.sh" || exit 1
require_root

random_file "$AS/full.img" $((40 << 20))
truncate -s 500M "$AS/sparse.img"
dd if=/dev/urandom of="$AS/sparse.img" bs=1M seek=300 count=3 conv=notrunc status=none
random_file "$AS/odd.img" 1000001
: >"$AS/empty.img"
start_backup
start_primary
for ((i = 0; i < 20; i++)); do
	dd if=/dev/urandom of="$A/full.img" bs=12288 seek=$((i * 137)) count=2 conv=notrunc status=none
done
wait_protected
assert_eq "$(status "$A" .mode)" primary "mode of a"
assert_eq "$(status "$B" .mode)" backup "mode of b"
assert_eq "$(status "$A" .pair)" "$(status "$B" .pair)" "pair id"
[ "$(status "$A" .node)" != "$(status "$B" .node)" ] || fail "both nodes have the same id"
assert_match "$(status "$A" .link.tls)" 'TLSv1.3*' "tls"
assert_eq "$(ls "$B" | tr '\n' ' ')" "empty.img full.img odd.img sparse.img " "names on the backup"
flush "$A"
for f in full.img sparse.img odd.img empty.img; do
	assert_same "$A/$f" "$B/$f"
done
stop "$A" "$B"
for f in full.img sparse.img odd.img empty.img; do
	assert_same "$AS/$f" "$BS/$f"
done
[ "$(stat -c %b "$BS/sparse.img")" -lt $((20 << 11)) ] || fail "holes were filled on the backup"

# they know each other: remembered roles, and a delta
dd if=/dev/urandom of="$AS/odd.img" bs=4k count=1 seek=7 conv=notrunc status=none
colofs_mount "$BS" "$B" "listen=127.0.0.1:$PEER_PORT,tls=$T/certs/b,peer-name=a"
assert_eq "$(status "$B" .role)" backup "remembered role"
start_primary
wait_protected
assert_same "$A/odd.img" "$B/odd.img"
