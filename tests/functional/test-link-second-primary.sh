#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# A second writer on the link: another primary, with a certificate as good as the first one's, is refused while the first
# one is connected and after it has gone. The backup and its pair are not disturbed.
. "$(dirname "$0")/../lib.sh" || exit 1
require_root

random_file "$AS/disk.img" 1000000
pair_up
flush "$A"
mkdir "$T/c.src" "$T/c"
random_file "$T/c.src/disk.img" 1000000
colofs_mount "$T/c.src" "$T/c" "role=primary,peer=127.0.0.1:$PEER_PORT,tls=$T/certs/a"
wait_status "$T/c" '.last_error != null'
say "told: $(status "$T/c" .last_error.text)"
assert_eq "$(status "$T/c" .protected)" false "protected, the second"
dd if=/dev/urandom of="$A/disk.img" bs=64k count=3 conv=notrunc status=none
flush "$A"
assert_same "$A/disk.img" "$B/disk.img"
assert_eq "$(metric "$A" link_losses_total)" 0 "links lost by the pair"
stop "$A"
refused=$(metric "$T/c" link_refusals_total)
more_refusals() {
	[ "$(metric "$T/c" link_refusals_total)" -gt "$refused" ] || [ "$(metric "$B" link_refusals_total)" -gt 1 ]
}
wait_for 20 more_refusals || fail "the second primary was not refused again"
assert_eq "$(status "$T/c" .protected)" false "protected, the second, alone with the backup"
assert_same "$AS/disk.img" "$B/disk.img"
