#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Clocks that jump, under fio --verify and commits by the clock: the time of day a day forth and an hour back, the
# monotonic clock an hour forth (a host that slept), on each node; and two nodes whose monotonic clocks lie weeks apart. The
# link is not lost for it, commits go on, and the guest notices nothing.
# not-sanitized: a preloaded library and that of ASan both want to be the first
. "$(dirname "$0")/../lib.sh" || exit 1
. "$TESTS/lib-faults.sh"
net_setup
FAKETIME=$(dpkg -L libfaketime 2>/dev/null | grep 'libfaketimeMT.so.1$') || skip "needs libfaketime"

clock_env() { # NODE: its daemon's clocks are what the file says
	printf '%s\n' env "LD_PRELOAD=$FAKETIME" "FAKETIME_TIMESTAMP_FILE=$T/clock.$1" FAKETIME_NO_CACHE=1 \
		"${@:2}"
}
set_clock() { # NODE OFFSET: whole, for the daemon never reads half a file
	echo "$2" >"$T/clock.tmp"
	mv "$T/clock.tmp" "$T/clock.$1"
}
commits_go_on() {
	local before
	before=$(metric "$A" commits_total)
	wait_for 20 commits_above "$((before + 3))" || fail "no commits any more: $(cat "$A/.colo/status")"
}
commits_above() {
	[ "$(metric "$A" commits_total)" -gt "$1" ]
}
jump() { # NODE OFFSET
	say "node $1: $2"
	load_passes 1
	set_clock "$1" "$2"
	commits_go_on
	load_passes 1
	assert_eq "$(metric "$A" link_losses_total) $(metric "$B" link_losses_total)" "0 0" "links lost ($(status "$A" .reason))"
	[ "$(status "$A" .epoch.committed_age_ms)" -ge 0 ] || fail "an age below zero"
}
series() { # JUMP...: both nodes
	local node offset
	set_clock a +0
	set_clock b +0
	net_pair commit=200ms
	load_start
	for node in a b; do
		for offset; do
			jump "$node" "$offset"
		done
	done
}

say "time of day"
mapfile -t A_ENV < <(clock_env a FAKETIME_DONT_FAKE_MONOTONIC=1)
mapfile -t B_ENV < <(clock_env b FAKETIME_DONT_FAKE_MONOTONIC=1)
series +1d -1h
net_healed
stop "$A" "$B"
# That the daemon did believe it: its last commit was an hour ago.
B_ENV=()
net_start_b
[ "$(status "$B" .epoch.committed_age_ms)" -gt 3500000 ] || fail "the backup's clock never jumped"
stop "$B"

say "monotonic"
mapfile -t A_ENV < <(clock_env a)
mapfile -t B_ENV < <(clock_env b)
series +1h +2h
for mnt in "$A" "$B"; do
	[ "$(status "$mnt" .link.since_ms)" -gt 7200000 ] || fail "the clock of $mnt never jumped"
done
net_healed
stop "$A" "$B"

say "monotonic clocks 3000000 s apart"
A_ENV=() B_ENV=(unshare -T --monotonic 3000000 --)
net_pair commit=200ms
load_start
commits_go_on
load_passes 1
net_healed
