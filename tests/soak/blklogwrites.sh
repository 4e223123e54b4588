#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Crash states from below the file system. The backup's SOURCE and journal are an ext4 on a loop device on a file of
# nbdfuse on QEMU's blklogwrites, which logs every write and flush that reaches the "disk". From the log devices are
# made as a power failure could have left them (crash-replay); each is mounted (ext4 replays its own journal), a real
# backup is mounted on it and failed over with drop-overlay: all images are exactly one epoch, acked <= it <= sent.
. "$(dirname "$0")/../lib.sh" || exit 1
. "$TESTS/crash/record.sh"
require_root
require qemu-storage-daemon nbdfuse losetup mkfs.ext4 e2fsck

: "${SEED:=1}" "${POINTS:=120}" "${COMMITS:=30}"
LOG=$T/marks BLOCK_LOG=$T/writes
export BLOCK_LOG
disk=$T/disk jobs=()

alive() { # what we stand on
	kill -0 "${jobs[@]}" 2>/dev/null
}
disk_up() {
	truncate -s 64M "$disk"
	mkfs.ext4 -q -m 0 -J size=4 -E lazy_itable_init=0,lazy_journal_init=0,root_owner=0:0 "$disk"
	cp --sparse=always "$disk" "$T/base"
	: >"$BLOCK_LOG"
	qemu-storage-daemon --blockdev driver=file,node-name=disk,filename="$disk",discard=unmap \
		--blockdev driver=file,node-name=log,filename="$BLOCK_LOG" \
		--blockdev driver=blklogwrites,node-name=both,file=disk,log=log,log-sector-size=512 \
		--nbd-server addr.type=unix,addr.path="$T/nbd.sock" \
		--export type=nbd,id=e,node-name=both,name=disk,writable=on >"$T/qsd.log" 2>&1 {TICK}>&- &
	jobs+=($!)
	wait_for 10 test -S "$T/nbd.sock" || fail "no NBD server: $(cat "$T/qsd.log")"
	mkdir "$T/nbd"
	# One request at a time: concurrent ones of "write zeroes" corrupt the log of this QEMU.
	nbdfuse -s "$T/nbd/disk" "nbd+unix:///disk?socket=$T/nbd.sock" >"$T/nbdfuse.log" 2>&1 {TICK}>&- &
	jobs+=($!)
	wait_for 10 test -e "$T/nbd/disk" || fail "no nbdfuse: $(cat "$T/nbdfuse.log")"
	loop=$(losetup -f --show "$T/nbd/disk")
	mount "$loop" "$BS"
}
disk_down() {
	umount "$BS"
	losetup -d "$loop"
	wait_for 10 umount "$T/nbd" || fail "nbdfuse's file is busy"
	wait "${jobs[1]}" || :
	kill "${jobs[0]}"
	wait "${jobs[0]}" || :
	jobs=()
}

say "seed $SEED"
disk_up
crash-load init "$LOG" "$AS"
crash-load mark "$LOG" sync
start_backup journal-size=16M,overlay-size=16M
start_primary link-timeout=10s
crash-load mark "$LOG" "synced $(wait_protected && status "$A" .epoch.committed)"
crash-load run "$LOG" "$A" "$B" "$SEED" $((COMMITS / 2))
stop "$B"
crash-load mark "$LOG" sync
start_backup journal-size=16M,overlay-size=16M
crash-load mark "$LOG" "synced $(wait_protected && status "$A" .epoch.committed)"
crash-load run "$LOG" "$A" "$B" $((SEED + 1)) $((COMMITS - COMMITS / 2))
crash-load write "$LOG" "$A" $((SEED + 2))
alive || fail "QEMU or nbdfuse has died"
stop "$A" "$B"
disk_down
say "$(crash-replay info "$BLOCK_LOG")"

mkdir "$T/s.src" "$T/s" "$T/none"
states=0 flushes=0 torn_away=0 unborn=0 ahead=0
one() { # N SEED
	local out epoch
	out=$(crash-replay state "$BLOCK_LOG" "$T/base" "$T/state" "$1" "$2")
	mount -o loop "$T/state" "$T/s.src" || fail "entry $1, seed $2: ext4 does not mount"
	free_port
	colofs_mount "$T/s.src" "$T/s" "role=backup,listen=127.0.0.1:$PORT,tls=$T/certs/b,peer-name=a,journal-size=16M,overlay-size=16M"
	epoch=$(status "$T/s" '.epoch.committed // 0')
	if [ "$epoch" = 0 ]; then
		unborn=$((unborn + 1))
		crash-states judge "$LOG" "$1" "$T/none" 0 || fail "entry $1, seed $2: no epoch"
	else
		failover "$T/s" "drop-overlay epoch=$epoch"
		crash-states judge "$LOG" "$1" "$T/s" "$epoch" || fail "entry $1, seed $2 ($out)"
	fi
	stop "$T/s"
	[ "$epoch" = 0 ] || crash-states judge "$LOG" "$1" "$T/s.src" "$epoch" || fail "files: entry $1, seed $2 ($out)"
	umount "$T/s.src"
	e2fsck -fn "$T/state" >"$T/fsck.log" 2>&1 || fail "entry $1, seed $2: e2fsck: $(cat "$T/fsck.log")"
	states=$((states + 1))
	[ "$2" != 0 ] || flushes=$((flushes + 1))
	[ "${out#*later=}" = 0 ] || torn_away=$((torn_away + 1))
	[ "$epoch" -le "$(crash-states acked "$LOG" "$1")" ] || ahead=$((ahead + 1))
}
t0=$SECONDS
while read -r n seed; do
	one "$n" "$seed"
done < <(crash-replay points "$BLOCK_LOG" 0 "$POINTS" "$SEED")
say "$states states in $((SECONDS - t0)) s: $flushes behind a flush, $torn_away with writes lost, $ahead ahead of the" \
	"acknowledged epoch, $unborn before the first one"
[ "$states" -ge 100 ] || [ "$POINTS" -lt 100 ] || fail "only $states states"
[ "$unborn" -lt $((states / 2)) ] || fail "too few states with an epoch"
