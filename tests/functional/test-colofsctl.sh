#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# colofsctl: status, flush, failover, certs; exit 0 done, 1 refused with the reason on stderr, 2 usage.
. "$(dirname "$0")/../lib.sh" || exit 1
require_root

truncate -s 1M "$AS/disk.img"
pair_up
colofsctl status "$A" | grep -qi protected || fail "status: $(colofsctl status "$A")"
colofsctl status --json "$A" | jq -e '.mode == "primary"' >/dev/null || fail "status --json"
assert_match "$(colofsctl flush "$A" by-tool)" '*epoch=*' "flush"
assert_eq "$(status "$B" .epoch.name)" by-tool "name of the epoch"
code() { # WANTED COMMAND...
	local want=$1 rc=0
	shift
	"$@" >"$T/out" 2>"$T/err" </dev/null || rc=$?
	assert_eq "$rc" "$want" "exit code of $* ($(cat "$T/err"))"
	[ "$want" = 0 ] || [ -s "$T/err" ] || fail "$* said nothing"
}
code 2 colofsctl
code 2 colofsctl no-such-command "$A"
code 2 colofsctl flush
code 1 colofsctl flush "$T"
code 1 colofsctl flush "$B"
code 1 colofsctl failover --yes "$B"
grep -qi 'link\|busy' "$T/err" || fail "the reason: $(cat "$T/err")"
kill9 "$A"
wait_status "$B" '.link.state != "up"' 30
code 0 colofsctl failover --yes "$B"
assert_eq "$(status "$B" .role)" primary role
