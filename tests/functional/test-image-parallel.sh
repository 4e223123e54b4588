#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Many threads, synchronous and asynchronous, at once, overlapping too: what was written last is read.
. "$(dirname "$0")/../lib.sh" || exit 1
require_root
require fio

truncate -s 64M "$AS/disk.img"
colofs_mount "$AS" "$A"
fio --name=threads --filename="$A/disk.img" --rw=randwrite --bsrange=512-45056 --blockalign=512 --size=32M \
	--offset_increment=8M --numjobs=4 --thread --ioengine=psync --direct=1 --verify=crc32c --verify_state_save=0 --io_size=16M \
	--group_reporting >"$T/fio.log" 2>&1 || fail "$(tail -n 20 "$T/fio.log")"
fio --name=ring --filename="$A/disk.img" --rw=randrw --bs=4k --size=48M --ioengine=io_uring --iodepth=64 --direct=1 \
	--verify=crc32c --verify_state_save=0 --group_reporting >"$T/fio.log" 2>&1 || fail "$(tail -n 20 "$T/fio.log")"
