#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# QEMU's failure 2, the primary's writes cannot be forwarded: its guest gets no error, who orders checkpoints is told with
# the next one and by status, and all that was not forwarded is there when it can be again.
. "$(dirname "$0")/../lib.sh" || exit 1
private_network
require fio

truncate -s 64M "$AS/disk.img"
pair_up link-timeout=1s link-timeout=1s
flush "$A"
epoch=$(reply_value epoch)
fio --name=load --filename="$A/disk.img" --rw=randwrite --bs=4k --size=64M --io_size=24M --ioengine=libaio --iodepth=8 \
	--direct=1 --rate_iops=3000 --verify=crc32c --verify_state_save=0 --do_verify=0 >"$T/fio.log" 2>&1 {TICK}>&- &
fio=$!
wait_status "$A" '.uncommitted.writes > 100'
cut_link
wait_status "$A" '.protected == false and .last_error != null' 10
ctl_fails "$A" flush ENOTCONN
wait "$fio" || fail "the guest: $(tail -n 20 "$T/fio.log")"
assert_eq "$(status "$B" .epoch.committed)" "$epoch" "the backup's epoch"
heal_link
wait_protected
flush "$A"
assert_same "$A/disk.img" "$B/disk.img"
