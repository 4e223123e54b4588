#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Writes in flight together share system calls: each is read by one, and writing the image, mirroring and replying cost
# less than half a call more.
# not-sanitized: it counts system calls
. "$(dirname "$0")/../lib.sh" || exit 1
require_root
require fio strace

truncate -s 64M "$AS/disk.img"
pair_up
strace -f -c -o "$T/calls" -p "$(daemon_of "$A")" 2>"$T/strace.log" {TICK}>&- &
tracer=$!
wait_for 10 grep -qs attached "$T/strace.log" || fail "strace: $(cat "$T/strace.log")"
fio --name=writes --filename="$A/disk.img" --rw=randwrite --bs=4k --size=64M --io_size=32M --ioengine=libaio --iodepth=32 \
	--iodepth_batch=16 --direct=1 >"$T/fio.log" 2>&1 || fail "$(tail "$T/fio.log")"
wait_status "$A" '.pending.bytes == 0'
kill -INT "$tracer"
wait "$tracer" || :
calls() { # NAME
	awk -v n="$1" '$NF == n { print $4 }' "$T/calls"
}
say "for 8192 writes: $(calls total) system calls, $(calls io_uring_enter) of them io_uring_enter"
[ "$(calls io_uring_enter)" -gt 0 ] || fail "not counted: $(cat "$T/calls")"
assert_less "$(calls io_uring_enter)" 4096 "calls of io_uring_enter"
assert_less "$(calls total)" 12288 "system calls"
