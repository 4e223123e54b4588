#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# SIGKILL at every io_uring_enter of a short life, for both daemons, in a new pair and behind a crash (STEP=1, OFFSET=1; see
# tests/lib-kill.sh). About twenty minutes; NODES="a b" and SERIES="new again" choose a part.
. "$(dirname "$0")/../lib.sh" || exit 1
. "$TESTS/lib-kill.sh"
require_root
kill_setup

for node in ${NODES:-b a}; do
	for series in ${SERIES:-new again}; do
		before=$KILLED
		kill_fresh
		kill_series "$node" "$series" "${STEP:-1}" "${OFFSET:-1}"
		say "node $node, series $series: $((KILLED - before)) kills"
	done
done
[ "$KILLED" -gt 0 ] || fail "nothing was killed"
say "$KILLED kills; $IN_FLIGHT times the epoch in flight had become durable"
