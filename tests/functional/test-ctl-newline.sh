#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# The newline that echo writes is part of its command, not one of its own: one commit, one reply, no error; and who
# only looks gets no answer meant for another.
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
must_fail bash -c "echo bogus > '$A/.colo/ctl'"
ctl "$A" flush || fail "$REPLY_LINE"
answer=$(timeout 5 cat <&"$idle") || fail "an idle client's read hangs"
case $answer in *bogus* | *EINVAL*) fail "an idle client got another's error: $answer" ;; esac
exec {idle}>&-
