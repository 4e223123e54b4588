#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# .colo/events: one JSON object a line, as it happens; a read blocks for the next, can be interrupted, and ends with the
# daemon. checkpoint-wanted comes at three quarters of the overlay, on both nodes. colofsctl events, check, drill.
. "$(dirname "$0")/../lib.sh" || exit 1
require_root

truncate -s 20M "$AS/disk.img"
code() { # WANTED MNT: of colofsctl check
	local rc=0
	colofsctl check "$2" >/dev/null 2>&1 || rc=$?
	assert_eq "$rc" "$1" "colofsctl check $2"
}
code 7 "$A"
pair_up "" overlay-size=8M
code 8 "$A"
code 0 "$B"
assert_eq "$(stat -c %a "$A/.colo/events")" 400 "mode"
cat "$A/.colo/events" >"$T/a.events" &
READER=$!
colofsctl events "$B" >"$T/b.events" &
seen() { # FILE JQ-EXPRESSION
	jq -es "any($2)" "$1" >/dev/null 2>&1
}
told() { # FILE JQ-EXPRESSION
	wait_for 20 seen "$1" "$2" || fail "never: $2; $(tail -n 5 "$1")"
}
flushed() { # until the readers have begun, nothing is told
	flush "$A" first && seen "$T/a.events" '.event == "commit"' && seen "$T/b.events" '.event == "commit"'
}
wait_for 20 flushed || fail "no commit is told: $(tail -n 5 "$T/a.events")"
flush "$A" named
told "$T/a.events" ".event == \"commit\" and .name == \"named\" and .epoch == $(reply_value epoch) and .mode == \"primary\""
told "$T/b.events" ".event == \"commit\" and .epoch == $(reply_value epoch) and .mode == \"backup\""

say "a checkpoint is wanted"
dd if=/dev/urandom of="$B/disk.img" bs=1M count=7 conv=notrunc status=none
told "$T/b.events" '.event == "checkpoint-wanted" and .overlay_bytes >= 6291456'
told "$T/a.events" '.event == "checkpoint-wanted"'

say "waiting reads: interrupted, and not too many"
must_fail timeout -s INT 1 dd if="$B/.colo/events" of=/dev/null bs=4k count=1 status=none
flush "$A"

say "the pair is proved"
assert_match "$(colofsctl drill "$A")" "done epoch=* differ=0 *"
must_fail colofsctl drill "$B"

say "the link, and the end"
kill9 "$B"
told "$T/a.events" '.event == "link" and .state == "down"'
told "$T/a.events" '.event == "unprotected"'
kill -TERM "$(daemon_of "$A")"
wait_for 20 gone "$AS" || fail "the daemon waits for a reader of events"
wait "$READER" || : # its end of file, or the end of the mount
code 7 "$A"
jq -es 'all(.[]; (.time_ms | type) == "number" and (.event | type) == "string")' "$T/a.events" "$T/b.events" >/dev/null ||
	fail "not an object a line"
