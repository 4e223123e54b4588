#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# What `flush` takes with so many MiB of 4 KiB random writes since the last one, both nodes on this disk: median and
# worst of ROUNDS. The flush begins when the last write was answered.
. "$(dirname "$0")/lib.sh" || exit 1
require_root
require fio

: "${ROUNDS:=5}"
truncate -s 2G "$AS/disk.img"
pair_up link-timeout=20s,flush-timeout=60s journal-size=6G
echo "| dirty | flush, median | flush, worst | journal fdatasyncs per flush |"
echo "| ---: | ---: | ---: | ---: |"
for mb in 0 16 256 1024; do
	: >"$T/times"
	before=$(metric "$B" journal_fdatasyncs_total)
	for ((round = 0; round < ROUNDS; round++)); do
		[ $mb = 0 ] || fio --name=dirty --filename="$A/disk.img" --rw=randwrite --bs=4k --size=2G --io_size="${mb}M" \
			--ioengine=io_uring --iodepth=32 --direct=1 --randrepeat=0 >"$T/fio.log" 2>&1 || fail "$(tail "$T/fio.log")"
		epoch_reader time-flush "$A/.colo/ctl" >>"$T/times"
	done
	syncs=$(($(metric "$B" journal_fdatasyncs_total) - before))
	sort -n "$T/times" | awk -v mb=$mb -v syncs=$syncs '{ v[NR] = $1 } END {
		printf "| %d MiB | %.1f ms | %.1f ms | %.1f |\n", mb, v[int((NR + 1) / 2)] / 1000, v[NR] / 1000, syncs / NR }'
done
