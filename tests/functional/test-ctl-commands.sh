#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# The control file: help, blanks, refusals by errno, reply lines on the same and on a fresh open.
. "$(dirname "$0")/../lib.sh" || exit 1
require_root

truncate -s 1M "$AS/disk.img"
pair_up
ctl "$A" help || fail "help: $REPLY_LINE"
assert_match "$REPLY_LINE" 'done*' "reply of help"
for word in flush failover connect disconnect help; do
	grep -q "$word" "$A/.colo/ctl" || fail "help does not list $word: $(cat "$A/.colo/ctl")"
done
ctl_fails "$A" bogus EINVAL
assert_match "$REPLY_LINE" 'fail errno=EINVAL reason="*"*' "reply"
ctl_fails "$A" "" EINVAL
ctl_fails "$A" "flush bad/name" EINVAL
ctl_fails "$A" "flush $(printf 'x%.0s' {1..65})" EINVAL
ctl_fails "$A" "flush a b" EINVAL
ctl_fails "$A" "FLUSH" EINVAL
ctl_fails "$A" "connect now" EINVAL
ctl_fails "$B" "failover epoch=x" EINVAL
printf 'flush\nflush\n' >"$T/two" # two lines in one write
must_fail dd if="$T/two" of="$A/.colo/ctl" bs=4096 count=1 conv=notrunc
ctl_fails "$B" "flush" EPERM
ctl "$A" "  flush   $(printf 'x%.0s' {1..64})  " || fail "blanks, a long name: $REPLY_LINE"
must_fail dd if=/dev/zero of="$A/.colo/ctl" bs=5000 count=1 conv=notrunc
assert_match "$OUT" '*rgument list too long*' "5000 bytes"
must_fail bash -c "printf '\\0flush' > '$A/.colo/ctl'"
printf flush >"$A/.colo/ctl" # without a newline
assert_match "$(cat "$A/.colo/ctl")" 'done epoch=*' "a fresh open's reply"
echo flush >"$A/.colo/ctl"
echo flush >>"$A/.colo/ctl"
# verbs of later deliveries are unknown, not accepted and ignored
for verb in prepare commit switchover verify resync discard-local set wait; do
	ctl "$A" help || :
	grep -qw "$verb" "$A/.colo/ctl" || ctl_fails "$A" "$verb" EINVAL
done
