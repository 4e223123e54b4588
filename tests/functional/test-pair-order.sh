#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Names, sizes, allocations, zeroes and discards, mixed with data that they overlap, in one order and in the epoch they
# were made in: a random program is carried out on the mount and on plain files beside it, which are copied at each
# flush. A backup that is killed, in the middle of a flush too, shows one of these copies, the last acknowledged or the
# one in flight; after a failover it is the last one, and the program goes on there.
. "$(dirname "$0")/../lib.sh" || exit 1
require_root
require fallocate

[ -z "${COLOFS_ORDERLY_END:-}" ] || : "${ROUNDS:=2}" # sanitized each takes four times as long
: "${ROUNDS:=6}" "${SEED:=$RANDOM}"
say "seed $SEED"
RANDOM=$SEED
KEEP=$T/keep
FRONT=$A # where the program runs
mkdir "$KEEP"

# ---- the program: each step takes the directory first ----

write_at() { # DIR NAME OFF
	dd if="$T/piece" of="$1/$2" bs=1M oflag=seek_bytes seek="$3" conv=notrunc status=none
}
shrink_grow() { # DIR NAME SIZE SIZE: what was cut off must not come back
	truncate -s "$3" "$1/$2"
	truncate -s "$4" "$1/$2"
}
space() { # DIR NAME OPTIONS...
	fallocate "${@:3}" "$1/$2"
}
create() { # DIR NAME
	cp "$T/piece" "$1/$2"
}
replace() { # DIR NAME NAME
	mv -f "$1/$2" "$1/$3"
}
swap() { # DIR NAME NAME
	mv "$1/$2" "$1/swapped" && mv "$1/$3" "$1/$2" && mv "$1/swapped" "$1/$3"
}
anew() { # DIR NAME: another image of that name
	rm "$1/$2"
	cp "$T/piece" "$1/$2"
}
both() { # STEP ARGUMENTS...
	"$1" "$FRONT" "${@:2}"
	"$1" "$KEEP" "${@:2}"
	DONE[$1]=1
}
declare -A DONE

pick() { # sets NAME, SIZE, OFF, LEN
	local all=("$KEEP"/*)
	NAME=${all[RANDOM % ${#all[@]}]##*/}
	SIZE=$(stat -c %s "$KEEP/$NAME")
	OFF=$((RANDOM * 32768 + RANDOM)) LEN=$((1 + RANDOM * 4))
	OFF=$((OFF % (SIZE + 1)))
	[ $((RANDOM % 2)) = 0 ] || OFF=$((OFF & ~4095)) LEN=$(((LEN + 4095) & ~4095))
}
step() {
	local other
	pick
	random_file "$T/piece" $LEN
	case $((RANDOM % 14)) in
	0 | 1 | 2 | 3 | 4) both write_at "$NAME" $OFF ;;
	5) both truncate_to "$NAME" $OFF ;;
	6) both truncate_to "$NAME" $((SIZE + LEN)) ;;
	7) both shrink_grow "$NAME" $OFF $((SIZE < 2000000 ? SIZE + 5000 : SIZE / 2)) ;;
	8) both space "$NAME" -p -o $OFF -l $LEN ;;
	9) both space "$NAME" -z -o $OFF -l $LEN ;;
	10) both space "$NAME" -o $((OFF + LEN)) -l $LEN ;;
	11) both create "image$((next += 1))" ;;
	12) both anew "$NAME" ;;
	13)
		other=$NAME
		pick
		if [ "$other" = "$NAME" ]; then
			both replace "$NAME" "renamed$((next += 1))"
		elif [ $((RANDOM % 2)) = 0 ] || [ "$(ls "$KEEP" | wc -l)" -lt 4 ]; then
			both swap "$NAME" "$other"
		else
			both replace "$NAME" "$other"
		fi
		;;
	esac
}
truncate_to() { # DIR NAME SIZE
	truncate -s "$3" "$1/$2"
}
program() { # STEPS
	local i
	for ((i = 0; i < $1; i++)); do
		step
	done
}

# ---- what it is compared with ----

snapshot() { # NAME: what a flush that begins now commits
	rm -rf "${T:?}/$1"
	cp -r --sparse=always "$KEEP" "$T/$1"
}
equal() { # DIR DIR: names and contents; says what differs
	local f
	[ "$(ls "$1")" = "$(ls "$2")" ] || { diff <(ls "$1") <(ls "$2") && return 1 || return 1; }
	for f in "$2"/*; do
		cmp <(whole "$1/${f##*/}") <(whole "$f") || { echo "in ${f##*/}" && return 1; }
	done
}
must_equal() { # DIR DIR WHAT
	equal "$1" "$2" >"$T/differs" 2>&1 || fail "$3: $(cat "$T/differs")"
}

next=0
for i in 1 2 3; do
	random_file "$AS/first$i" $((300000 + RANDOM))
	cp "$AS/first$i" "$KEEP"
done
pair_up link-timeout=2s
free_port
APART=$PORT
# Cut off while nobody listens: what is gone is not missing on the peer for ever after.
kill9 "$B"
both truncate_to first1 1000
start_backup
wait_protected
assert_eq "$(status "$A" .pending.bytes)" 0 "bytes that the peer lacks, behind the resync"
flush "$A"
snapshot acked
in_flight=0
for ((round = 1; round <= ROUNDS; round++)); do
	program 25
	wait_status "$A" '.pending.bytes == 0'
	must_equal "$B" "$T/acked" "round $round, before the flush"
	snapshot sent
	if ((round % 2)); then
		flush "$A"
		must_equal "$B" "$T/sent" "round $round, after the flush"
		mv "$T/acked" "$T/older" && mv "$T/sent" "$T/acked" && rm -r "$T/older"
		program 8 # of an epoch that nobody will see
		kill9 "$B"
	else
		pid=$(daemon_of "$B")
		echo flush 2>/dev/null >"$A/.colo/ctl" &
		flusher=$!
		tick 0.00$((RANDOM % 10))
		kill -9 "$pid"
		wait_for 15 gone "$BS" || fail "the backup does not die"
		umount -l "$B"
		if wait "$flusher" 2>/dev/null; then
			mv "$T/acked" "$T/older" && mv "$T/sent" "$T/acked" && rm -r "$T/older"
		fi
	fi
	# It recovers where its peer cannot reach it: what is seen is what the crash left.
	colofs_mount "$BS" "$B" "role=backup,listen=127.0.0.1:$APART,tls=$T/certs/b,peer-name=a"
	if ! equal "$B" "$T/acked" >"$T/differs" 2>&1; then
		[ -d "$T/sent" ] || fail "round $round, recovered: $(cat "$T/differs")"
		must_equal "$B" "$T/sent" "round $round, recovered, neither the acknowledged epoch ($(cat "$T/differs")) nor the other"
		in_flight=$((in_flight + 1))
	fi
	if ((round % 3 == 0)); then # the files as well
		cp -r "$B" "$T/seen"
		stop "$B"
		must_equal "$BS" "$T/seen" "round $round, the files"
		rm -r "$T/seen"
	else
		kill9 "$B"
	fi
	start_backup
	wait_protected
	snapshot acked
	rm -rf "$T/sent"
	flush "$A"
	must_equal "$B" "$KEEP" "round $round, after the resync"
	must_equal "$A" "$KEEP" "round $round, the primary"
done
say "$ROUNDS crashes of the backup; $in_flight times the epoch in flight had become durable"

# The primary dies with an epoch under way.
program 25
flush "$A"
snapshot acked
program 25
kill9 "$A"
wait_status "$B" '.link.state != "up"'
failover "$B"
must_equal "$B" "$T/acked" "after the failover"
rm -r "$KEEP"
cp -r "$T/acked" "$KEEP"
FRONT=$B
program 60
must_equal "$B" "$KEEP" "written after the failover"
kill9 "$B"
colofs_mount "$BS" "$B"
must_equal "$B" "$KEEP" "and after a crash behind it"
stop "$B"
must_equal "$BS" "$KEEP" "the files"
for name in write_at truncate_to shrink_grow space create anew replace swap; do
	[ -n "${DONE[$name]:-}" ] || fail "$name never came"
done
