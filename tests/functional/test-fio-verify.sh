#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# fio with checksums, 4 KiB random writes at depth 32, io_uring and libaio, through a protected primary: no error,
# and after a flush the backup's image compares equal. MEGABYTES: how much by each engine (the whole check: 1024).
# not-sanitized: image-parallel and image-mixed-writes take the same paths with less data
. "$(dirname "$0")/../lib.sh" || exit 1
require_root
require fio qemu-img

: "${MEGABYTES:=128}"
truncate -s "${MEGABYTES}M" "$AS/io_uring.img" "$AS/libaio.img"
pair_up link-timeout=20s
for engine in io_uring libaio; do
	fio --name="$engine" --filename="$A/$engine.img" --rw=randwrite --bs=4k --size="${MEGABYTES}M" --ioengine=$engine \
		--iodepth=32 --direct=1 --verify=crc32c --verify_fatal=1 --verify_state_save=0 --randrepeat=0 >"$T/fio.log" 2>&1 ||
		fail "$engine: $(tail -n 20 "$T/fio.log")"
	grep -E 'write: IOPS|read: IOPS' "$T/fio.log" || :
done
flush "$A"
for engine in io_uring libaio; do
	qemu-img compare -q -f raw -F raw "$A/$engine.img" "$B/$engine.img" || fail "$engine: the images differ"
done
stop "$A" "$B"
for engine in io_uring libaio; do
	qemu-img compare -q -f raw -F raw "$AS/$engine.img" "$BS/$engine.img" || fail "$engine: the files differ"
done
