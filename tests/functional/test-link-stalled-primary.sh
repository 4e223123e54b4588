#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# A primary that stalls in the midst of its stream, far beyond link-timeout: the backup stays a backup, at its last epoch,
# and takes no write for its own disk's; when the primary goes on the pair is protected again by itself.
. "$(dirname "$0")/../lib.sh" || exit 1
require_root
require fio

random_file "$AS/disk.img" $((16 << 20))
pair_up link-timeout=500ms link-timeout=500ms
flush "$A"
epoch=$(reply_value epoch)
cp "$B/disk.img" "$T/committed"
for round in 1 2 3; do
	fio --name=load --filename="$A/disk.img" --rw=randwrite --bs=4k-256k --size=16M --io_size=400M --ioengine=libaio \
		--iodepth=16 --direct=1 >"$T/fio.log" 2>&1 {TICK}>&- &
	fio=$!
	wait_status "$A" '.uncommitted.writes > 50'
	kill -STOP "$(daemon_of "$A")"
	wait_status "$B" '.link.state != "up"' 30
	assert_eq "$(status "$B" '.role + " " + .mode')" "backup backup" "the backup, round $round"
	assert_eq "$(status "$B" .epoch.committed)" "$epoch" "its epoch, round $round"
	assert_same "$B/disk.img" "$T/committed"
	kill -CONT "$(daemon_of "$A")"
	wait "$fio" || fail "the guest: $(tail -n 20 "$T/fio.log")"
	wait_protected
	flush "$A"
	epoch=$(reply_value epoch)
	assert_same "$A/disk.img" "$B/disk.img"
	cp "$B/disk.img" "$T/committed"
done
