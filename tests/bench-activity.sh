#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# What the activity map costs: two protected pairs side by side on tmpfs, one of them of a build that marks nothing
# (-DCOLOFS_UNMARKED). 4 KiB random writes by fio within a working set that the map holds, on the one and the other in turn;
# of each turn's ratios the median. Below BAR per cent of throughput. CPU is the primary daemon's, for one write.
. "$(dirname "$0")/lib.sh" || exit 1
require_root
require fio jq

: "${ROUNDS:=9}" "${SECONDS_EACH:=4}" "${SIZE_MB:=1024}" "${BAR:=3}"
plain=${UNMARKED:-$BUILD/unmarked}
make -s -C "$TESTS/.." BUILD="$plain" EXTRA_CFLAGS=-DCOLOFS_UNMARKED "$plain/colofs" >"$T/make.log" 2>&1 ||
	fail "the other build: $(cat "$T/make.log")"
mkcerts
pair() { # NUMBER BINARY: mounted at $T/a.NUMBER
	local n=$1
	mkdir "$T/a.$n" "$T/b.$n" "$T/a.$n.src" "$T/b.$n.src"
	mount -t tmpfs -o size=8G none "$T/a.$n.src"
	mount -t tmpfs -o size=8G none "$T/b.$n.src"
	dd if=/dev/urandom of="$T/a.$n.src/disk.img" bs=1M count="$SIZE_MB" status=none
	free_port
	"$2" -f "$T/b.$n.src" "$T/b.$n" -o "role=backup,listen=127.0.0.1:$PORT,tls=$T/certs/b,peer-name=a,journal-size=4G" \
		>>"$T/b.$n.log" 2>&1 {TICK}>&- &
	wait_for 10 test -e "$T/b.$n/.colo/status" || fail "no backup: $(tail -n 3 "$T/b.$n.log")"
	"$2" -f "$T/a.$n.src" "$T/a.$n" -o "role=primary,peer=127.0.0.1:$PORT,tls=$T/certs/a,commit=500ms" \
		>>"$T/a.$n.log" 2>&1 {TICK}>&- &
	wait_for 10 test -e "$T/a.$n/.colo/status" || fail "no primary: $(tail -n 3 "$T/a.$n.log")"
	wait_status "$T/a.$n" .protected 60
}
cpu() { # NUMBER: ticks that its primary has used
	awk '{ print $14 + $15 }' "/proc/$(own_daemons "$T/a.$1.src")/stat"
}
measure() { # NUMBER: operations a second, nanoseconds of CPU each
	local before after
	before=$(cpu "$1")
	fio --name=m --filename="$T/a.$1/disk.img" --rw=randwrite --bs=4k --iodepth=32 --ioengine=io_uring --direct=1 \
		--size="${SIZE_MB}M" --time_based --runtime="$SECONDS_EACH" --randrepeat=0 --output-format=json 2>"$T/fio.err" >"$T/fio.json"
	after=$(cpu "$1")
	jq -r --argjson t $((after - before)) '.jobs[0].write | "\(.iops | floor) \($t * 10000000 / .total_ios | floor)"' "$T/fio.json"
	[ "$(status "$T/a.$1" .protected)" = true ] || wait_status "$T/a.$1" .protected 60
}
median() {
	sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'
}
pair 0 "$plain/colofs"
pair 1 "$BUILD/colofs"
for ((round = 0; round <= ROUNDS; round++)); do
	for i in $((round % 2)) $((1 - round % 2)); do
		measure "$i" >"$T/now.$i"
	done
	[ "$round" != 0 ] || continue # the first one marks the working set
	[ "$round" != 1 ] || maps=$(metric "$T/a.1" activity_writes_total)
	paste -d' ' "$T/now.0" "$T/now.1" >>"$T/result"
done
assert_eq "$(metric "$T/a.0" activity_waits_total)" 0 "marks of the build without"
echo "activity map: maps written in $((ROUNDS - 1)) turns: $(($(metric "$T/a.1" activity_writes_total) - maps)), extents $(metric "$T/a.1" activity_extents)"
awk '{ print $1 }' "$T/result" | median >"$T/m0"
awk '{ print $3 }' "$T/result" | median >"$T/m1"
awk '{ print $3 / $1 }' "$T/result" | median >"$T/ratio"
awk '{ print $4 / $2 }' "$T/result" | median >"$T/cpu"
echo "4 KiB random writes, depth 32, median of $ROUNDS turns: $(cat "$T/m0")/s without, $(cat "$T/m1")/s with; ratio $(cat "$T/ratio"), of CPU a write $(cat "$T/cpu")"
awk -v r="$(cat "$T/ratio")" -v bar="$BAR" 'BEGIN { exit !(r > 1 - bar / 100) }' || fail "it costs more than $BAR %"
