#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# An epoch of many times the backup's memory: no OOM, and flush takes what it takes for a small one. MEGABYTES: the
# epoch (the whole check: 2048); the backup has 256 MiB, or an eighth of the epoch.
# alone: a memory limit, and a time compared with another
# not-sanitized: a sanitizer needs more memory than the limit
. "$(dirname "$0")/../lib.sh" || exit 1
require_root
require fio

: "${MEGABYTES:=1024}"
limit=$((MEGABYTES >= 2048 ? 256 : MEGABYTES / 8))
memory_cgroup $((limit << 20))
truncate -s "${MEGABYTES}M" "$AS/disk.img"
mkcerts
free_port
PEER_PORT=$PORT
in_cgroup mount -t fuse.colofs "$BS" "$B" \
	-o "role=backup,listen=127.0.0.1:$PEER_PORT,tls=$T/certs/b,peer-name=a,journal-size=$((MEGABYTES + 512))M"
pid=$(daemon_of "$B")
grep -qx "$pid" "$CGROUP/cgroup.procs" || fail "the backup is not in its cgroup"
start_primary link-timeout=20s,flush-timeout=60s
wait_protected
dd if=/dev/urandom of="$A/disk.img" bs=64k count=1 oflag=direct conv=notrunc status=none
flush "$A"
small=$TOOK_MS
fio --name=big --filename="$A/disk.img" --rw=write --bs=256k --size="${MEGABYTES}M" --ioengine=io_uring --iodepth=8 \
	--direct=1 --buffer_compress_percentage=0 >"$T/fio.log" 2>&1 || fail "$(tail "$T/fio.log")"
[ "$(daemon_of "$B")" = "$pid" ] || fail "the backup died"
assert_eq "$(status "$A" .protected)" true protected
wait_status "$A" '.pending.bytes == 0' 60
flush "$A"
big=$TOOK_MS
say "flush: $small ms with 64 KiB dirty, $big ms with $MEGABYTES MiB; resident $(status "$B" .memory.resident)"
assert_less "$(status "$B" .memory.resident)" $(((limit << 20) + 1)) "resident memory"
assert_less "$big" $((small * 2 + 500)) "milliseconds of a big epoch's flush"
qemu-img compare -q -f raw -F raw "$A/disk.img" "$B/disk.img" || fail "the images differ"
stop "$A"
umount "$B"
wait_for 120 gone "$BS" || fail "the backup does not end"
