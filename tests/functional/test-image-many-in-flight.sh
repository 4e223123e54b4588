#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# More requests at once than any queue of the daemon is long, with the peer frozen too: they wait, all are answered, and
# nothing is lost.
. "$(dirname "$0")/../lib.sh" || exit 1
require_root
require fio

truncate -s 64M "$AS/disk.img"
pair_up link-timeout=2s
pid=$(daemon_of "$A")
many() { # WORDS OF FIO
	fio --name=many --filename="$A/disk.img" --bs=4k --size=16M --offset_increment=16M --numjobs=4 --ioengine=libaio \
		--iodepth=1500 --iodepth_batch=512 --direct=1 --verify=crc32c --verify_state_save=0 --group_reporting "$@" \
		>"$T/fio.log" 2>&1 || fail "$(tail -n 20 "$T/fio.log")"
}
many --rw=randwrite
flush "$A"
kill -STOP "$(daemon_of "$B")"
many --rw=randwrite --io_size=4M
kill -CONT "$(daemon_of "$B")"
assert_eq "$(daemon_of "$A")" "$pid" "the daemon"
wait_protected
flush "$A"
assert_same "$A/disk.img" "$B/disk.img"
