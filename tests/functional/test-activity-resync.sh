#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# The primary is killed in mid-write: started again it compares the extents that its activity map names, not the disk, and
# both copies are equal. Within one working set the map is not written again, however much the guest writes.
. "$(dirname "$0")/../lib.sh" || exit 1
require_root
require fio

EXTENT=$((64 << 20))
random_file "$AS/disk.img" $((5 * EXTENT))
load() { # OPTIONS...: within the third extent
	fio --name=load --filename="$A/disk.img" --rw=randwrite --bs=4k --offset=$((2 * EXTENT + (8 << 20))) --size=16M \
		--ioengine=libaio --iodepth=16 --direct=1 "$@" >"$T/fio.log" 2>&1 {TICK}>&-
}
pair_up
flush "$A"
load --io_size=8M
writes=$(metric "$A" activity_writes_total)
waits=$(metric "$A" activity_waits_total)
[ "$writes" -ge 1 ] || fail "no activity map was written"
for _ in 1 2 3; do
	load --io_size=32M
	flush "$A"
done
assert_eq "$(metric "$A" activity_waits_total)" "$waits" "writes that waited within the working set"
assert_less "$(metric "$A" activity_writes_total)" $((writes + 3)) "maps written for one working set"
assert_eq "$(metric "$A" activity_extents)" 1 "extents that the map names"

{ load --time_based --runtime=60 || :; } & # it ends with the daemon
wait_status "$A" '.uncommitted.writes > 1000'
kill9 "$A"
wait %% 2>/dev/null || :
start_primary
wait_protected
assert_eq "$(metric "$A" sync_hashed_bytes_total)" "$EXTENT" "bytes compared after the crash"
assert_less "$(metric "$A" sync_sent_bytes_total)" $((17 << 20)) "bytes sent after the crash"
assert_same "$A/disk.img" "$B/disk.img"

# Another one, before anything is written: what was compared is clean, and the map says so or names it once more.
kill9 "$A"
start_primary
wait_protected
assert_less "$(metric "$A" sync_hashed_bytes_total)" $((EXTENT + 1)) "bytes compared after the second crash"
assert_less "$(metric "$A" sync_sent_bytes_total)" 1 "bytes sent after the second crash"

# A smaller mark than the write would be a hole in the map: two neighbours at once.
dd if=/dev/urandom of="$A/disk.img" bs=1M count=1 oflag=seek_bytes seek=$((4 * EXTENT - (1 << 19))) conv=notrunc,fsync status=none
kill9 "$A"
start_primary
wait_protected
assert_same "$A/disk.img" "$B/disk.img"
[ "$(metric "$A" sync_hashed_bytes_total)" -ge $((2 * EXTENT)) ] || fail "only one of two extents was compared"
assert_less "$(metric "$A" sync_hashed_bytes_total)" $((4 * EXTENT)) "bytes compared after the third crash"
