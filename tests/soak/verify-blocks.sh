#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# verify, again and again, while fio writes with all its might and checkpoints are taken: no false positive in 10 million
# blocks of 64 KiB (BLOCKS=N). The image is 1 GiB, fio writes to all of it; then both copies are compared byte by byte.
. "$(dirname "$0")/../lib.sh" || exit 1
require_root
require fio

: "${BLOCKS:=10000000}"
truncate -s 1G "$AS/disk.img"
pair_up journal-size=2G
fio --name=load --filename="$A/disk.img" --size=1G --rw=randwrite --bsrange=512-64k --bs_unaligned=0 --blockalign=512 \
	--ioengine=io_uring --iodepth=4 --direct=1 --time_based --runtime=100000 --rate=4m >"$T/fio.log" 2>&1 &
LOAD=$!
began=$SECONDS rounds=0
while [ "$(metric "$A" verified_bytes_total)" -lt $((BLOCKS * 65536)) ]; do
	kill -0 "$LOAD" 2>/dev/null || fail "$(cat "$T/fio.log")"
	assert_match "$(colofsctl verify "$A")" "* differ=0 *"
	colofsctl flush "$A" >/dev/null || fail "a flush failed: $(status "$A" .last_error.text)"
	rounds=$((rounds + 1))
done
written=$(metric "$A" guest_write_bytes_total)
kill -INT "$LOAD"
wait "$LOAD" 2>/dev/null || : # interrupted
flush "$A"
cmp "$A/disk.img" "$B/disk.img" || fail "the copies differ"
say "$(($(metric "$A" verified_bytes_total) / 65536)) blocks compared in $rounds rounds, $((SECONDS - began)) s, while $((written >> 20)) MiB were written: differ=0"
