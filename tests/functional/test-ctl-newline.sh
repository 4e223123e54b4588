#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# The newline that echo writes is part of its command, not one of its own: one commit, one reply, no error; and who
# only looks gets no answer meant for another. Two lines in one write are refused, and neither of them happens.
. "$(dirname "$0")/../lib.sh" || exit 1
require_root

truncate -s 1M "$AS/disk.img"
pair_up
exec {idle}<>"$A/.colo/ctl" # a client that never said anything
before=$(metric "$A" commits_total)
for ((i = 0; i < 5; i++)); do
	echo flush >"$A/.colo/ctl"
	printf flush >"$A/.colo/ctl"
done
assert_eq $(($(metric "$A" commits_total) - before)) 10 "commits"
assert_eq "$(metric "$A" commit_errors_total)" 0 "failed commits"
assert_eq "$(wc -l <"$A/.colo/ctl")" 1 "lines of the reply"
assert_match "$(cat "$A/.colo/ctl")" 'done epoch=*' "the reply"
before=$(metric "$A" commits_total)
must_fail bash -c "env printf 'flush\nflush\n' >'$A/.colo/ctl'" # coreutils': one write. bash's own: one a line
assert_match "$OUT" '*Invalid argument*' "two lines in one write"
assert_match "$(cat "$A/.colo/ctl")" 'fail errno=EINVAL reason="one command a write*' "the reply to two lines"
assert_eq "$(metric "$A" commits_total)" "$before" "commits by a write that was refused"
must_fail bash -c "echo bogus > '$A/.colo/ctl'"
ctl "$A" flush || fail "$REPLY_LINE"
answer=$(timeout 5 cat <&"$idle") || fail "an idle client's read hangs"
case $answer in *bogus* | *EINVAL*) fail "an idle client got another's error: $answer" ;; esac
exec {idle}>&-
