#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# The network goes away under load: the guest stalls at most link-timeout and never fails; when it is back the
# pair is protected again by itself, by a delta, and the backup stays at its last epoch until then.
. "$(dirname "$0")/../lib.sh" || exit 1
private_network
require fio

random_file "$AS/disk.img" $((64 << 20))
pair_up link-timeout=2s link-timeout=2s
flush "$A"
epoch=$(reply_value epoch)
committed=$(sum "$B/disk.img")
sent=$(metric "$A" sync_sent_bytes_total)
cut_link
fio --name=load --filename="$A/disk.img" --rw=randwrite --bs=4k --size=8M --ioengine=libaio --iodepth=8 --direct=1 \
	--rate_iops=2000 --max_latency=5s >"$T/fio.log" 2>&1 || fail "$(tail "$T/fio.log")"
wait_status "$A" '.link.state != "up"' 10
wait_status "$B" '.link.state != "up"' 10
assert_eq "$(status "$B" .epoch.committed)" "$epoch" "the backup's epoch"
assert_eq "$(sum "$B/disk.img")" "$committed" "the backup's image"
[ "$(status "$A" '[.images[].dirty_bytes] | add')" -gt 0 ] || fail "nothing is dirty"
heal_link
wait_protected
assert_same "$A/disk.img" "$B/disk.img"
assert_less $(($(metric "$A" sync_sent_bytes_total) - sent)) $((32 << 20)) "bytes sent for a delta"
flush "$A"
