#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# A peer that refuses is asked again, but less and less often: no storm of handshakes. Seven attempts take at least
# 0.1 + 0.2 + 0.4 + 0.8 + 1.6 s between them, and a bit less where the pauses are drawn.
. "$(dirname "$0")/../lib.sh" || exit 1
require_root

random_file "$AS/disk.img" 100000
random_file "$BS/disk.img" 100000
start_backup # has images of another origin: it will refuse
refusals() {
	[ "$(metric "$B" link_refusals_total)" -ge "$1" ]
}
start_primary
wait_for 20 refusals 1 || fail "no refusal"
t0=$(now_ms)
first=$(metric "$B" link_refusals_total)
wait_for 40 refusals $((first + 6)) || fail "asked $(metric "$B" link_refusals_total) times in 40 s"
took=$(($(now_ms) - t0))
say "$took ms for six more"
[ "$took" -ge 1500 ] || fail "six attempts in $took ms"
ctl "$A" help || fail "$REPLY_LINE"
