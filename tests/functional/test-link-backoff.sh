#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# A peer that refuses for a reason that no time can mend is asked once, and again when something changes: `connect`, or the
# peer mounted anew. How the pauses grow where it is asked again is unit-test_refused's.
. "$(dirname "$0")/../lib.sh" || exit 1
require_root

random_file "$AS/disk.img" 100000
random_file "$BS/disk.img" 100000
start_backup link-timeout=1s # has images of another origin: it will refuse
refusals() {
	[ "$(metric "$B" link_refusals_total)" -ge "$1" ]
}
start_primary link-timeout=1s
wait_for 20 refusals 1 || fail "no refusal"
wait_status "$A" '.advice // "" | test("connect")'
first=$(metric "$B" link_refusals_total)
wait_status "$A" '.link.since_ms > 8000'
assert_eq "$(metric "$B" link_refusals_total)" "$first" "refusals, eight seconds later"
assert_match "$(status "$A" .reason)" "*did not come from this pair*" "the reason"
ctl "$A" connect || fail "$REPLY_LINE"
wait_for 5 refusals $((first + 1)) || fail "connect does not ask again"
stop "$B"
start_backup overwrite=yes
wait_protected
assert_same "$A/disk.img" "$B/disk.img"
