#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# fio on the raw file, on a node alone, on a protected pair (TLS, the backup's storage on tmpfs, a commit every
# half second) and on QEMU's FUSE export, side by side: each workload on all four before the next, median of ROUNDS.
. "$(dirname "$0")/lib.sh" || exit 1
require_root
require fio jq qemu-storage-daemon

: "${ROUNDS:=3}" "${SECONDS_EACH:=5}" "${SIZE_MB:=1024}"
mkdir "$T/alone.src" "$T/alone"
mount -t tmpfs -o size=12G none "$BS"
for f in "$T/raw.img" "$T/qsd.raw" "$T/alone.src/disk.img" "$AS/disk.img"; do
	dd if=/dev/urandom of="$f" bs=1M count="$SIZE_MB" oflag=direct status=none
done
colofs_mount "$T/alone.src" "$T/alone"
pair_up commit=500ms journal-size=6G
: >"$T/qsd.img"
qemu-storage-daemon --blockdev driver=file,node-name=disk,filename="$T/qsd.raw",cache.direct=on,aio=native \
	--export type=fuse,id=out,node-name=disk,mountpoint="$T/qsd.img",writable=on >"$T/qsd.log" 2>&1 &
wait_for 10 mountpoint -q "$T/qsd.img" || fail "no export: $(cat "$T/qsd.log")"
targets=("$T/raw.img" "$T/alone/disk.img" "$A/disk.img" "$T/qsd.img")

measure() { # FILE RW BS DEPTH: operations a second
	fio --name=m --filename="$1" --rw="$2" --bs="$3" --iodepth="$4" --ioengine=io_uring --direct=1 --size="${SIZE_MB}M" \
		--time_based --runtime="$SECONDS_EACH" --randrepeat=0 --output-format=json 2>"$T/fio.err" |
		jq '[.jobs[0].read.iops, .jobs[0].write.iops] | max | floor'
}
median() {
	sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'
}
echo "| fio, O_DIRECT, io_uring | raw file | unprotected | protected, TLS | QEMU's export | unprotected : QEMU | protected : QEMU |"
echo "| --- | ---: | ---: | ---: | ---: | ---: | ---: |"
for job in "4 KiB random write, depth 1|randwrite 4k 1" "4 KiB random write, depth 32|randwrite 4k 32" \
	"4 KiB random read, depth 32|randread 4k 32" "1 MiB sequential write, depth 8|write 1M 8"; do
	read -r rw bs depth <<<"${job#*|}"
	for i in 0 1 2 3; do : >"$T/result.$i"; done
	for ((round = 0; round < ROUNDS; round++)); do
		for i in 0 1 2 3; do
			measure "${targets[i]}" "$rw" "$bs" "$depth" >>"$T/result.$i"
			[ $i != 2 ] || [ "$(status "$A" .protected)" = true ] || wait_protected
		done
	done
	for i in 0 1 2 3; do r[i]=$(median <"$T/result.$i"); done
	unit=/s
	[ "$bs" = 4k ] || unit=' MiB/s'
	awk -v name="${job%|*}" -v unit="$unit" -v a="${r[0]}" -v b="${r[1]}" -v c="${r[2]}" -v d="${r[3]}" 'BEGIN {
		printf "| %s | %d%s | %d%s | %d%s | %d%s | %.2f | %.2f |\n", name, a, unit, b, unit, c, unit, d, unit, b / d, c / d }'
done
assert_eq "$(metric "$A" link_losses_total)" 0 "links lost during the benchmark"
