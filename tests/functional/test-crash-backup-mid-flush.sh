#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# SIGKILL of the backup in the middle of a flush, ROUNDS times: after each restart both its images equal
# one epoch, the acknowledged one or the one in flight.
. "$(dirname "$0")/../lib.sh" || exit 1
require_root

: "${ROUNDS:=12}" "${SEED:=$$}"
say "seed $SEED"
RANDOM=$SEED
truncate -s 2M "$AS/one.img" "$AS/two.img"
pair_up link-timeout=2s
free_port
apart=$PORT
next=1 in_flight=0
for ((round = 1; round <= ROUNDS; round++)); do
	count=$((1 + RANDOM % 4))
	epoch_reader write-kill "$(daemon_of "$B")" $((RANDOM % 3000)) "$A/.colo/ctl" "$next" "$count" \
		"$A/one.img" "$A/two.img" >"$T/out" || fail "the writer: $(cat "$T/out")"
	wait_for 15 gone "$BS" || fail "the backup does not die"
	umount -l "$B"
	eval "$(sed 's/errno=/error=/' "$T/out")" # acked= sent= error=
	# It recovers where its peer cannot reach it: what is seen is what the crash left.
	colofs_mount "$BS" "$B" "role=backup,listen=127.0.0.1:$apart,tls=$T/certs/b,peer-name=a"
	# shellcheck disable=SC2154
	got=$(epoch_reader check "$B/one.img" "$B/two.img") || fail "round $round, after $(cat "$T/out"): $got"
	[ "$got" = "$acked" ] || [ "$got" = "$sent" ] || fail "round $round: epoch $got after $(cat "$T/out")"
	[ "$got" = "$acked" ] || in_flight=$((in_flight + 1))
	if ((RANDOM % 2)); then
		kill9 "$B"
	else
		stop "$B"
		assert_eq "$(epoch_reader check "$BS/one.img" "$BS/two.img")" "$got" "the files, round $round"
	fi
	start_backup
	wait_protected
	assert_eq "$(epoch_reader check "$B/one.img" "$B/two.img")" "$sent" "after the resync, round $round"
	next=$((sent + 1))
done
say "$ROUNDS crashes; $in_flight times the epoch in flight had become durable"
