#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# SIGKILL of the backup at each STEPth io_uring_enter of a short life, from a random OFFSET on: the restarted backup shows one epoch, acknowledged <= it <= sent, and the pair heals.
# The soak kill-at-every takes all of them.
# not-sanitized: the leak check does not work under strace
. "$(dirname "$0")/../lib.sh" || exit 1
. "$TESTS/lib-kill.sh"
require_root
kill_setup

: "${STEP:=14}" "${OFFSET:=$((1 + RANDOM % STEP))}"
for series in new again; do
	kill_fresh
	kill_series b "$series" "$STEP" "$OFFSET"
done
[ "$KILLED" -gt 0 ] || fail "nothing was killed"
say "$KILLED kills; $IN_FLIGHT times the epoch in flight had become durable"
