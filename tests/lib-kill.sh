# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# SIGKILL at the Nth io_uring_enter of a daemon, which is the only way it touches files, sockets and guests: behind
# lib.sh, for tests/functional/test-kill-at-*.sh and tests/soak/kill-at-every.sh. Stamped images (epoch_reader.c) show
# what survived: acknowledged <= recovered <= sent, one number throughout both images.
#
# A series is a pair's life. Series `new`: each round begins with an empty backup, so that N lies in the pairing and
# the first sync too. Series `again`: each begins behind a crash with sealed epochs, so that N lies in the recovery.

: "${EPOCHS:=3}" # flushes a round
: "${KILL_B:=}"   # options of the backup's
KILLED=0         # rounds in which the daemon was killed
IN_FLIGHT=0      # of them, with an epoch recovered whose flush had not returned

kill_images() { # DIR
	printf '%s\n' "$1/one.img" "$1/two.img"
}
kill_setup() {
	require strace
	mkcerts
	free_port && PEER_PORT=$PORT
	while free_port && [ "$PORT" = "$PEER_PORT" ]; do :; done
	APART=$PORT
}
# Both nodes as on their first day.
kill_fresh() {
	local m
	for m in "$A" "$B"; do
		[ -z "$(daemon_of "$m")" ] || kill9 "$m"
	done
	rm -rf "$AS" "$BS"
	mkdir "$AS" "$BS"
	truncate -s 512K "$AS/one.img" "$AS/two.img"
	kill_prepare
	ACKED=0 SENT=0 PAIRED=
}
# A test's own, for new SOURCEs.
kill_prepare() {
	:
}
# NODE (a or b), in the foreground, below strace, killed at its Nth io_uring_enter. $T/verdict is there when
# it has ended: its exit code, 137 when killed.
start_traced() { # NODE N
	local how
	case $1 in
	a) how="role=primary,peer=127.0.0.1:$PEER_PORT,tls=$T/certs/a" ;;
	b) how="role=backup,listen=127.0.0.1:$PEER_PORT,tls=$T/certs/b,peer-name=a${KILL_B:+,$KILL_B}" ;;
	esac
	rm -f "$T/verdict"
	(
		trap - EXIT ERR
		set +e
		strace -f -qq -o "$T/trace" -e trace=io_uring_enter -e inject=io_uring_enter:signal=KILL:when="$2" \
			colofs -f "$T/$1.src" "$T/$1" -o "$how,link-timeout=2s"
		echo $? >"$T/verdict"
	) >>"$T/$1.log" 2>&1 {TICK}>&- &
}
traced_dead() {
	[ -s "$T/verdict" ]
}
# The mount answers, or the daemon is dead.
traced_ready() { # MNT
	traced_dead || [ -e "$1/.colo/status" ]
}
traced_protected() {
	traced_dead || status_is "$A" .protected
}
write_epochs() { # COUNT [CTL-DIR]: stamps and flushes, on; ACKED and SENT follow
	local dir=${2:-$A} acked sent error
	mapfile -t images < <(kill_images "$dir")
	epoch_reader write "$dir/.colo/ctl" $((SENT + 1)) "$1" "${images[@]}" >"$T/out" 2>"$T/err" || {
		# It could not even open them: the daemon is dead, or is just being buried.
		wait_for 10 traced_dead || fail "the writer: $(cat "$T/out" "$T/err")"
		return 0
	}
	eval "$(sed 's/errno=/error=/' "$T/out")"
	# shellcheck disable=SC2154
	[ "$acked" -le "$ACKED" ] || ACKED=$acked
	# shellcheck disable=SC2154
	SENT=$sent
}
# What node b shows is one number between the acknowledged and the sent; GOT, empty if there is no committed epoch,
# which is well as long as the pair was never protected.
check_recovered() { # ROUND
	mapfile -t images < <(kill_images "$B")
	if [ -z "$PAIRED" ] && ! cat "${images[@]}" >/dev/null 2>&1; then
		GOT=
		return 0
	fi
	GOT=$(epoch_reader check "${images[@]}" 2>&1) || fail "$1: $GOT"
	[ "$GOT" -ge "$ACKED" ] && [ "$GOT" -le "$SENT" ] || fail "$1: epoch $GOT, acknowledged $ACKED, sent $SENT"
	[ "$GOT" = "$ACKED" ] || IN_FLIGHT=$((IN_FLIGHT + 1))
}
# Protected again, both copies equal, and a flush goes through; all of one number again.
check_healed() { # ROUND
	local f
	wait_protected
	PAIRED=1
	for f in one.img two.img; do
		cmp "$A/$f" "$B/$f" >&2 || fail "$1: $f differs after the heal"
	done
	write_epochs 1
	[ "$ACKED" = "$SENT" ] || fail "$1: the flush after the heal: $(cat "$T/out")"
	check_recovered "$1, healed"
}
# Ends the traced daemon's mount; 0 if it was killed at its N, 1 if it came to its end.
traced_end() { # MNT
	local rc
	if ! traced_dead; then
		umount "$1" 2>/dev/null || :
		wait_for 30 traced_dead || fail "the daemon of $1 does not end"
	fi
	rc=$(<"$T/verdict")
	umount -l "$1" 2>/dev/null || :
	case $rc in
	0) return 1 ;;
	137) KILLED=$((KILLED + 1)) ;;
	*) fail "the daemon of $1 ended with $rc: $(tail -n 3 "$T"/[ab].log)" ;;
	esac
}

# One round: the daemon of NODE dies at its Nth system call. 1: it has fewer.
kill_round_b() { # SERIES N
	local what="backup, $1, N=$2"
	if [ "$1" = new ] || [ -z "$PAIRED" ]; then
		kill_fresh
		[ "$1" = new ] || { start_backup "$KILL_B" && start_primary link-timeout=2s && check_healed "$what, made" && kill9 "$B"; }
	fi
	start_traced b "$2"
	wait_for 30 traced_ready "$B" || fail "$what: no mount: $(tail -n 3 "$T/b.log")"
	[ -n "$(daemon_of "$A")" ] || start_primary link-timeout=2s
	wait_for 60 traced_protected || fail "$what: never protected"
	traced_dead || PAIRED=1
	traced_dead || write_epochs "$EPOCHS"
	traced_end "$B" || return 1
	# It recovers where its peer cannot reach it: what is seen is what the crash left.
	colofs_mount "$BS" "$B" "role=backup,listen=127.0.0.1:$APART,tls=$T/certs/b,peer-name=a"
	check_recovered "$what"
	if (($2 % 2)); then
		kill9 "$B"
	else
		stop "$B"
		[ -z "$GOT" ] || [ "$(epoch_reader check "$BS/one.img" "$BS/two.img")" = "$GOT" ] ||
			fail "$what: the files are not epoch $GOT: $(epoch_reader check "$BS/one.img" "$BS/two.img" 2>&1), $(ls -l "$BS" "$BS/.colofs")"
	fi
	start_backup "$KILL_B"
	check_healed "$what"
	[ "$1" = new ] || { write_epochs 1 && kill9 "$B"; } # its epochs are still in the journal
}
kill_round_a() { # SERIES N
	local what="primary, $1, N=$2"
	if [ "$1" = new ] || [ -z "$PAIRED" ]; then
		kill_fresh
		start_backup link-timeout=2s
		[ "$1" = new ] || { start_primary && check_healed "$what, made" && kill9 "$A"; }
	fi
	start_traced a "$2"
	wait_for 30 traced_ready "$A" || fail "$what: no mount: $(tail -n 3 "$T/a.log")"
	wait_for 60 traced_protected || fail "$what: never protected"
	traced_dead || PAIRED=1
	traced_dead || write_epochs "$EPOCHS"
	traced_end "$A" || return 1
	wait_status "$B" '.link.state != "up"' 30
	check_recovered "$what"
	if (($2 % 2)) && [ -n "$GOT" ]; then
		failover "$B"
		[ "$(epoch_reader check "$B/one.img" "$B/two.img")" = "$GOT" ] || fail "$what: failover changed epoch $GOT"
		# From here it serves: a stamp of its own survives its own crash.
		SENT=$((SENT + 100))
		write_epochs 1 "$B"
		kill9 "$B"
		colofs_mount "$BS" "$B"
		[ "$(epoch_reader check "$B/one.img" "$B/two.img")" = "$SENT" ] || fail "$what: not $SENT after failover and crash"
		stop "$B"
		[ "$(epoch_reader check "$BS/one.img" "$BS/two.img")" = "$SENT" ] || fail "$what: the files are not $SENT"
		PAIRED=
		return 0
	fi
	start_primary
	check_healed "$what"
	[ "$1" = new ] || { write_epochs 1 && kill9 "$A"; }
}
# How many there are in a whole round, counted by running one; N moves a little with the ticks.
kill_count() { # NODE SERIES
	if "kill_round_$1" "$2" 60000; then
		fail "killed at a call that does not exist"
	fi
	COUNT=$(wc -l <"$T/trace")
	PAIRED=
}
# Every STEPth call from OFFSET on. How many there are varies with the ticks: it ends when the last ones were not reached.
kill_series() { # NODE SERIES STEP OFFSET
	local n missed=0
	kill_count "$1" "$2"
	say "$1, $2: $COUNT calls in a whole round; every $3. from $4 (again: OFFSET=$4)"
	PAIRED=
	for ((n = $4; n <= COUNT + 5 * $3 && missed < 3; n += $3)); do
		missed=$((missed + 1))
		if "kill_round_$1" "$2" "$n"; then
			missed=0
		else
			PAIRED=
		fi
	done
}
