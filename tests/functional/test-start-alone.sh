#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# A primary of an established pair asks its peer before it serves: without an answer within peer-wait the mount is refused
# and names the way out, start-alone, which starts at once and shows in the status. Who interrupts the wait ends it. A
# promoted peer is an answer too: failover-old-primary.
# daemon-may-fail: one whose mount is interrupted ends with 32, and nobody is left to wait for it
. "$(dirname "$0")/../lib.sh" || exit 1
require_root

random_file "$AS/disk.img" 1000000
refused() { # OPTIONS PATTERN
	local rc=0
	start_primary "$1" 2>"$T/err" || rc=$?
	assert_eq "$rc" 32 "exit code of mount ($(cat "$T/err"))"
	assert_match "$(cat "$T/err")" "colofs: $2" "what mount says"
	[ -z "$(own_mounts | grep -x "$A" || :)" ] || fail "something is mounted"
	wait_for 10 gone "$AS" || fail "a daemon stays"
}
answers() {
	[ -e "$A/.colo/status" ]
}
state_file() {
	stat -c %i "$AS/.colofs/state"
}
asks() { # it has saved its state, which is the step before; there are the daemon and who waits for it
	[ "$(state_file)" != "$before" ] && [ "$(own_daemons "$AS" | wc -l)" = 2 ] && ! answers
}

say "never had a peer: at once"
start_primary peer-wait=100s
assert_eq "$(status "$A" .start_alone)" false start_alone
start_backup
wait_protected
flush "$A"

say "nobody to ask"
kill9 "$B"
stop "$A"
t0=$(now_ms)
refused peer-wait=1500 '*cannot be asked*start-alone*'
took=$(($(now_ms) - t0))
[ "$took" -ge 1500 ] || fail "refused after $took ms"

say "start-alone"
start_primary peer-wait=100s,start-alone
status_is "$A" '.start_alone and .role == "primary" and (.protected | not)' || fail "$(status "$A" .)"
grep -q 'start-alone is set' "$A/.colo/status" || fail "$(cat "$A/.colo/status")"
dd if=/dev/urandom of="$A/disk.img" bs=64k count=3 conv=notrunc,fsync status=none
stop "$A"

say "the wait is interrupted"
before=$(state_file)
colofs "$AS" "$A" -o "role=primary,peer=127.0.0.1:$PEER_PORT,tls=$T/certs/a,peer-wait=100s" 2>"$T/wait.log" {TICK}>&- &
mounting=$!
wait_for 20 asks || fail "it does not ask: $(cat "$T/wait.log")"
kill -TERM "$mounting" # in the background bash ignores SIGINT for it
wait "$mounting" || :
wait_for 10 gone "$AS" || fail "the daemon goes on asking"

say "the wait ends with the backup's start"
before=$(state_file)
colofs "$AS" "$A" -o "role=primary,peer=127.0.0.1:$PEER_PORT,tls=$T/certs/a,peer-wait=100s" 2>"$T/wait.log" {TICK}>&- &
mounting=$!
wait_for 20 asks || fail "it does not ask: $(cat "$T/wait.log")"
start_backup
wait "$mounting" || fail "refused: $(cat "$T/wait.log")"
wait_protected
flush "$A"
assert_same "$A/disk.img" "$B/disk.img"

say "the primary that listens is asked for by its backup"
stop "$A" "$B"
before=$(state_file)
colofs "$AS" "$A" -o "role=primary,listen=127.0.0.1:$PEER_PORT,tls=$T/certs/a,peer-name=b" 2>"$T/wait.log" {TICK}>&- &
mounting=$!
wait_for 20 asks || fail "it does not ask: $(cat "$T/wait.log")"
colofs_mount "$BS" "$B" "role=backup,peer=127.0.0.1:$PEER_PORT,tls=$T/certs/b,peer-name=a"
wait "$mounting" || fail "refused: $(cat "$T/wait.log")"
wait_protected
