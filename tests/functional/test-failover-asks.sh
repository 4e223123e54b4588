#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# What a failover would lose is in both nodes' status; colofsctl failover shows it on a terminal and asks first; the reply
# says what was lost.
. "$(dirname "$0")/../lib.sh" || exit 1
require_root
require script

on_terminal() { # ANSWER: to `colofsctl failover`; its exit code, what it showed in $T/shown
	local rc=0
	script -qefc "colofsctl failover $B" "$T/shown" <<<"$1" >/dev/null || rc=$?
	echo "$rc"
}
truncate -s 4M "$AS/disk.img"
pair_up
flush "$A"
assert_eq "$(status "$A" .lost_bytes) $(status "$B" .lost_bytes)" "0 0" "nothing was written"
grep -q '^loss  *a failover of the peer now would lose 0 B' "$A/.colo/status" || fail "$(cat "$A/.colo/status")"
dd if=/dev/urandom of="$A/disk.img" bs=64k count=8 conv=notrunc oflag=direct status=none
wait_status "$B" '.uncommitted.bytes == 524288'
assert_eq "$(status "$A" .lost_bytes)" 524288 "on the primary"
kill9 "$A"
wait_status "$B" '.link.state != "up"'
assert_eq "$(status "$B" .lost_bytes)" 524288 "on the backup, without its primary"
wait_status "$B" '.lost_ms >= 1500'
grep -q '^loss  *a failover now would lose at least 512.0 KiB' "$B/.colo/status" || fail "$(cat "$B/.colo/status")"

say "asked"
assert_eq "$(on_terminal n)" 1 "exit code after a no"
grep -q "lost_bytes=524288 .* lost_ms=[0-9]" "$T/shown" || fail "$(cat "$T/shown")"
grep -q 'Go on?' "$T/shown" || fail "it does not ask: $(cat "$T/shown")"
assert_eq "$(status "$B" .role)" backup "role after a no"
before=$(status "$B" .lost_ms)
assert_eq "$(on_terminal y)" 0 "exit code after a yes ($(cat "$T/shown"))"
assert_eq "$(status "$B" .role)" primary "role after a yes"
REPLY_LINE=$(grep -o 'done epoch=.*' "$T/shown" | tr -d '\r')
assert_eq "$(reply_value lost_bytes)" 524288 "$REPLY_LINE"
[ "$(reply_value lost_ms)" -ge "$before" ] || fail "$REPLY_LINE, after $before ms"

say "not asked"
stop "$B"
AS=$T/c.src A=$T/c BS=$T/d.src B=$T/d
mkdir "$AS" "$A" "$BS" "$B"
truncate -s 1M "$AS/disk.img"
pair_up
flush "$A"
kill9 "$A"
wait_status "$B" '.link.state != "up"'
script -qefc "colofsctl failover -y $B" "$T/shown" </dev/null >/dev/null || fail "$(cat "$T/shown")"
! grep -q 'Go on?' "$T/shown" || fail "-y asks"
assert_eq "$(status "$B" .role)" primary role
