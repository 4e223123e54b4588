#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# A link far slower than the guest in both directions, a small send buffer: no error, no stall beyond link-timeout + 1 s,
# and the link is never dropped for it. At 10 and 1 Mbit/s a guest with 4 KiB writes is slowed down to it; one with
# 16 times as much in flight would be held longer than link-timeout: what does not fit is sent later from the image. A flush over the slow link commits, or
# says that it does not know; fast again, the pair is level.
. "$(dirname "$0")/../lib.sh" || exit 1
. "$TESTS/lib-faults.sh"
net_setup

slow() { # RATE
	local dev=(dev va root tbf rate "$1" burst 16kb latency 200ms)
	tc qdisc add "${dev[@]}"
	dev[1]=vb
	in_b tc qdisc add "${dev[@]}"
}
fast() {
	tc qdisc del dev va root
	in_b tc qdisc del dev vb root
}
slow_scenario() { # RATE BLOCK PASS STATE
	say "$1, $2 writes"
	LOAD_BS=$2 LOAD_SIZE=$3
	load_start
	load_passes 1
	flush "$A"
	local losses
	losses=$(metric "$A" link_losses_total)
	slow "$1"
	wait_status "$A" "$4"
	load_passes 1
	flush_done || assert_eq "$ERRNO" ETIMEDOUT "a flush over the slow link ($REPLY_LINE)"
	say "  flush: $REPLY_LINE"
	load_passes 1
	assert_eq "$(metric "$A" link_losses_total)" "$losses" "links lost ($(status "$A" .reason))"
	fast
	net_healed
	assert_eq "$(metric "$A" link_losses_total)" "$losses" "links lost ($(status "$A" .reason))"
}

net_pair send-buffer=1M,flush-timeout=3s
slow_scenario 10mbit 4k 4M '.send_buffer.used > .send_buffer.limit / 2'
slow_scenario 1mbit 4k 1M '.send_buffer.used > .send_buffer.limit / 2'
slow_scenario 1mbit 64k 4M '.last_error.text // "" | test("sent later from the image")'
