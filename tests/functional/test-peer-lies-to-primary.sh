#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# A backup with the right certificate that lies: the primary gives it no data before it is sure of the pair, believes no
# verdict it did not ask for, never keeps its guest waiting for longer than it says, and takes the true backup again.
. "$(dirname "$0")/../lib.sh" || exit 1
require_root

random_file "$AS/disk.img" 1000000
pair_up link-timeout=1s,flush-timeout=1500ms
flush "$A"
epoch=$(status "$A" .epoch.committed)
stop "$B"
daemon=$(daemon_of "$A")
wrongs() {
	echo $(($(metric "$A" link_refusals_total) + $(metric "$A" link_losses_total)))
}
caught() { # BEFORE WORDS
	[ "$(wrongs)" -gt "$1" ] && [[ $(status "$A" .last_error.text) =~ $2 ]]
}
LIAR=
liar() { # COMMANDS: for whoever comes
	printf '%b\n' "$1" >"$T/commands"
	peer -c "$T/certs/b/server-cert.pem" -k "$T/certs/b/server-key.pem" -s "$T/commands" hold "127.0.0.1:$PEER_PORT" \
		>"$T/liar.log" 2>&1 <&"$TICK" {TICK}>&- &
	LIAR=$!
	wait_for 10 grep -q listening "$T/liar.log" || fail "nobody listens: $(cat "$T/liar.log")"
	ctl "$A" connect
}
liar_ends() {
	kill "$LIAR"
	wait "$LIAR" 2>/dev/null || :
}
guest_goes_on() { # WHAT
	local t0 took
	t0=$(now_ms)
	dd if=/dev/urandom of="$A/disk.img" bs=64k count=4 conv=notrunc,fsync status=none || fail "$1: the guest got an error"
	took=$(($(now_ms) - t0))
	assert_less "$took" 6000 "ms of a guest's writes, $1" # each is held for link-timeout at most
	assert_eq "$(status "$A" .mode | grep -c failed || :)" 0 "mode failed, $1"
}
lie() { # WHAT WORDS COMMANDS [SEEN]: SEEN: a session was made, frames may have come
	local before
	before=$(wrongs)
	liar "$3\nclosed"
	wait_for 15 caught "$before" "$2" || fail "$1: $(status "$A" .last_error.text) ($(tail -n 5 "$T/liar.log"))"
	local text
	text=$(status "$A" .last_error.text)
	liar_ends
	[ -n "${4:-}" ] || ! grep -qE '^< (DATA|ZERO|IMAGE|CREATE|UNLINK|HASHQ|COMMIT)' "$T/liar.log" || fail "$1: $(cat "$T/liar.log")"
	assert_eq "$(status "$A" .protected)" false "protected, after: $1"
	assert_eq "$(status "$A" .epoch.committed)" "$epoch" "the committed epoch, after: $1"
	assert_eq "$(daemon_of "$A")" "$daemon" "the daemon, after: $1"
	say "$1: $text"
}
H='until HELLO\nhello'
W="$H\nuntil WELCOME"
S="$W\nframe READY off=1000000000"

# ---- nobody who says these things gets a byte of an image ----
lie "garbage" 'not a colofs frame' 'noise 3000'
lie "a damaged header" 'damaged frame header' 'frame PING badhead=1'
lie "an unknown frame" 'unknown frame type' 'frame 200'
lie "an oversized HELLO" 'too long' 'frame HELLO plen=400000'
lie "a HELLO of noise" 'a HELLO frame that no sound' 'frame HELLO fill=5000'
lie "another version" 'no common protocol version' "$H min=3 max=4"
lie "another pair" 'another pair' "$H pair=00112233445566778899aabbccddeeff"
lie "my own node id" 'same node id' "$H node=peer"
lie "a second primary" 'roles do not fit' "$H role=1"
lie "an unprotected node" 'roles do not fit' "$H role=0"
lie "an epoch never ordered" 'never ordered' "$H committed=0x7fffffffff"
lie "a generation of nobody" 'split brain' "$H gen=12345"
lie "images that were here before" 'did not come from this pair' "$H pair=none gen=0 bits=4"
lie "sessions used up" 'a HELLO frame that no sound' "$H session=0x7fffffffffffffff"
lie "epochs used up" 'a HELLO frame that no sound' "$H epoch=0x7fffffffffffffff"
lie "1025 images" 'a HELLO frame that no sound' "$H images=1025"
lie "a name with a slash" 'a HELLO frame that no sound' "$H image=99:9:1:a/b"
lie "an image of 2^48 bytes" 'a HELLO frame that no sound' "$H image=99:0x1000000000000:1:x"
lie "READY of another session" 'READY' "$W\nframe READY session=500 off=1000"
lie "READY before WELCOME" 'READY' "until HELLO\nframe READY off=1000"
R="$H bits=0x51\nuntil WELCOME\nframe OWN image=first"
lie "an ex-primary's ranges before WELCOME" 'OWN' "until HELLO\nframe OWN image=99 fill=16"
lie "ranges of a copy that is level" 'OWN' "$W\nframe OWN image=first fill=16"
lie "ranges behind READY" 'OWN' "$H bits=0x51\nuntil WELCOME\nframe READY off=1000000000\nframe OWN image=first fill=16" seen
lie "an empty range" 'OWN' "$R hex=00000000000000000000000000000000"
lie "a range beyond any image" 'OWN' "$R hex=00000000000000800100000000000000"
lie "a range that wraps" 'OWN' "$R hex=0000010000000000ffffffffffffffff"
lie "half a range" 'OWN' "$R hex=000000000000000000000100000000000000000000000000"
lie "more ranges than a frame holds" 'too long' "$R fill=4096"
lie "DONE before a session" 'DONE' "$W\nframe DONE epoch=$epoch"
lie "CREDIT before a session" 'CREDIT' "$W\nframe CREDIT off=1000000000"
lie "WELCOME from a backup" 'WELCOME' "$H\nwelcome"
lie "no READY at all" 'no welcome within' "$W"
# ---- in a session ----
lie "data from a backup" 'DATA' "$S\nframe DATA image=99 fill=4096" seen
lie "a size from a backup" 'SIZE' "$S\nframe SIZE image=99 len=0" seen
lie "UNLINK from a backup" 'UNLINK' "$S\nframe UNLINK image=99" seen
lie "COMMIT from a backup" 'COMMIT' "$S\ncommit" seen
lie "SETTLE from a backup" 'SETTLE' "$S\nframe SETTLE epoch=$epoch off=1" seen
lie "FENCED from a backup" 'FENCED' "$S\nframe FENCED" seen
lie "a second HELLO" 'HELLO' "$S\nhello" seen
lie "half a frame" 'closed|broke' "$S\nframe HELLO plen=4000\nclose" seen

# Verdicts that nobody asked for do nothing: the epoch has to be whole before one is ordered.
lie "DONE for epochs never ordered" 'silent|closed|broke|not outstanding' \
	"$S\nframe DONE epoch=1\nframe DONE epoch=0xffffffffffffffff\nframe PREPARED epoch=7\nframe ABORTED epoch=7\nframe REFUSED epoch=1 off=28\nframe HASHR off=3 len=1\nclose" seen
guest_goes_on "after all that"
# One who joins and goes, again and again: each time the primary waits longer.
t0=$(now_ms)
liar "$S\nclose"
wait_for 30 bash -c "[ \$(grep -c '^< WELCOME' '$T/liar.log') -ge 7 ]" || fail "it does not come back"
took=$(($(now_ms) - t0))
[ "$took" -ge 2500 ] || fail "seven sessions in $took ms: a tight loop"
liar_ends
# Credit without end, and without a limit: what waits for the link is bounded by this node itself.
liar "$S\nserve rich mute stay"
wait_for 15 grep -q '^< COMMIT' "$T/liar.log" || fail "no COMMIT came: $(tail -n 5 "$T/liar.log")"
guest_goes_on "with a peer that never confirms"
ctl_fails "$A" flush ETIMEDOUT
assert_eq "$(status "$A" .protected)" false "protected by a peer that never confirms"
liar_ends
# Credit only once: writes are held for link-timeout, then marked.
wait_status "$A" '.link.state != "up" and .link.state != "syncing"'
liar "$S\nserve broke stay"
wait_for 15 grep -q '^< HASHQ\|^< DATA' "$T/liar.log" || fail "no sync began: $(tail -n 5 "$T/liar.log")"
for _ in 1 2 3; do
	guest_goes_on "with a peer that gives no more credit"
	dd if=/dev/urandom of="$A/disk.img" bs=1M count=8 conv=notrunc status=none
done
liar_ends
assert_eq "$(daemon_of "$A")" "$daemon" "the daemon"

# ---- the true backup ----
start_backup
ctl "$A" connect
wait_protected
flush "$A"
assert_same "$A/disk.img" "$B/disk.img"
