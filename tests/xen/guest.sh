#!/bin/busybox sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=dash
# What the Xen guest of `make check-xen` does with its disk, /dev/xvda, a qdisk in a colofs mount. It is the guest's
# init (see images.sh), its console is hvc0; dom0.sh reads "GUEST ..." lines there and types a word to let it go on.
# The kernel's command line says which life this is: story=before on the primary, story=after, with acked=N, on the
# backup that took over. Nothing waits for a fixed time.
# /sbin/NAME is the real program; without the path busybox takes its own.
disk=/dev/xvda queue=/sys/block/xvda/queue mnt=/mnt
stty -echo </dev/hvc0
mkfifo /tick
exec 3<>/tick
tick() {
	# shellcheck disable=SC3045 # busybox can
	read -r -t 0.2 _ <&3
}
say() {
	echo "GUEST $*"
}
check() { # NAME COMMAND...
	name=$1
	shift
	if "$@" >/out 2>&1; then
		say "ok $name"
		return 0
	fi
	say "FAIL $name"
	head -n 8 /out | sed 's/^/GUEST note /'
	return 1
}
await() { # WORD: until dom0 types it
	while read -r word && [ "$word" != "$1" ]; do :; done
}
finish() {
	say mark finished
	poweroff -f
	while :; do tick; done
}
boot_arg() { # NAME
	sed -n "s/.*\\b$1=\\([^ ]*\\).*/\\1/p" /proc/cmdline
}
fill() { # FILE BYTES
	head -c "$2" /dev/urandom >"$1"
}
drop_caches() {
	sync
	echo 3 >/proc/sys/vm/drop_caches
	blockdev --flushbufs $disk
}

# ---- the bare disk ----

raw_at() { # MEBIBYTE: its 1 MiB, from the disk itself
	dd if=$disk bs=64k skip=$(($1 * 16)) count=16 iflag=direct 2>/dev/null
}
raw_same() {
	for at in 0 7 8 9 $last; do
		raw_at $at | cmp - /pattern || return 1
	done
}
raw_sector() { # odd places, and the disk's last sector
	for at in 12345 $((sectors - 1)); do
		dd if=/pattern of=$disk bs=512 count=1 seek=$at oflag=direct conv=notrunc &&
			dd if=$disk bs=512 skip=$at count=1 iflag=direct | cmp -n 512 - /pattern || return 1
	done
}
raw_discard() { # the range reads as zeroes, its neighbours are as they were
	/sbin/blkdiscard -o $((8 << 20)) -l $((1 << 20)) $disk && raw_at 8 | cmp -n $((1 << 20)) - /dev/zero &&
		raw_at 7 | cmp - /pattern && raw_at 9 | cmp - /pattern
}
raw_disk() {
	sectors=$(blockdev --getsz $disk)
	last=$((sectors / 2048 - 1))
	fill /pattern 1048576
	say "note Linux $(uname -r) on $(cat /sys/hypervisor/type), disk of $((sectors / 2048)) MiB:" \
		"write_cache=$(cat $queue/write_cache), fua=$(cat $queue/fua)," \
		"discard_granularity=$(cat $queue/discard_granularity)," \
		"discard_max_bytes=$(cat $queue/discard_max_bytes)"
	for at in 0 7 8 9 $last; do
		check "write 1 MiB at $at MiB" dd if=/pattern of=$disk bs=64k seek=$((at * 16)) conv=fsync,notrunc
	done
	drop_caches
	check "the disk has what was written" raw_same
	check "single sectors, odd and last" raw_sector
	check "blkdiscard of a range" raw_discard
}

# ---- the first life, on the primary ----

write_files() { # DIR COUNT: files of many sizes, and their checksums
	mkdir -p "$1/deep/er" && i=0
	while [ $i -lt "$2" ]; do
		i=$((i + 1))
		case $((i % 3)) in 0) d=deep/er ;; 1) d=deep ;; *) d=. ;; esac
		fill "$1/$d/f$i" $((i * i * 400 + 777)) || return 1
	done
	(cd "$1" && find . -type f ! -name SUMS -exec sha256sum {} + >SUMS) && sync
}
trim() { # at least what a removed file of 6 MB gave back
	rm $mnt/junk && sync && /sbin/fstrim -v $mnt >/trimmed && cat /trimmed &&
		[ "$(sed 's/.*(\([0-9]*\) bytes.*/\1/' /trimmed)" -ge 6000000 ]
}
# Until the disk is gone: a file, fsync, its name with its checksum in it, fsync again. A number on the console was
# promised to be on stable storage before.
churn() {
	n=0
	mkdir -p $mnt/churn
	while n=$((n + 1)); do
		fill $mnt/churn/new $((4000 + n * 7919 % 60000)) && /sbin/sync $mnt/churn/new || break
		to=$mnt/churn/c-$n-$(sha256sum <$mnt/churn/new | cut -c 1-64)
		mv $mnt/churn/new "$to" && /sbin/sync "$to" $mnt/churn || break
		say "churn $n"
		tick # leave the one processor to others
	done
	say "note churn ended at $n"
}
overwrite() { # in place: same blocks of the disk
	head -c 65536 /dev/zero | tr '\0' 'X' | dd of=$mnt/set/./f23 bs=4k conv=notrunc,fsync
}
life_before() {
	raw_disk
	check "mkfs.ext4, discarding the whole disk" \
		/sbin/mke2fs -F -t ext4 -E discard,lazy_itable_init=0,lazy_journal_init=0 $disk
	check "mount" mount -t ext4 $disk $mnt || return
	check "30 files in 3 directories" write_files $mnt/set 30
	head -c 6000000 /dev/zero >$mnt/junk
	sync
	check "fstrim" trim
	check "files read back" sh -c "echo 3 >/proc/sys/vm/drop_caches && cd $mnt/set && sha256sum -c SUMS"
	sync
	churn &
	say mark written
	await flushed
	check "more files" write_files $mnt/unflushed 12
	check "overwrite a flushed file" overwrite
	check "remove a flushed file, and trim its blocks" \
		sh -c "rm $mnt/set/f29 && sync && /sbin/fstrim -v $mnt"
	say mark unflushed
	while :; do tick; done # dom0 kills us here
}

# ---- the second life, on what was the backup ----

fsck_replay() { # as any boot would
	/sbin/e2fsck -fp $disk
	[ $? -le 1 ]
}
churn_acked() { # every file that was acknowledged before the flush began
	i=0
	while [ $i -lt "$acked" ]; do
		i=$((i + 1))
		ls $mnt/churn/c-$i-* || return 1
	done
}
churn_whole() { # a file that has its final name has its content
	for f in "$mnt"/churn/c-*; do
		[ "$(sha256sum <"$f" | cut -c 1-64)" = "${f##*-}" ] || { echo "${f##*/} is not whole" && return 1; }
	done
}
life_after() {
	acked=$(boot_arg acked)
	check "e2fsck replays the journal" fsck_replay
	tail -n 1 /out | sed 's/^/GUEST note /'
	check "e2fsck finds it clean" /sbin/e2fsck -fn $disk
	check "mount" mount -t ext4 $disk $mnt || return
	check "the flushed files have their checksums" sh -c "cd $mnt/set && sha256sum -c SUMS"
	check "the removed flushed file is there again" test -s $mnt/set/f29
	check "files written after the flush are absent" test ! -e $mnt/unflushed
	check "files fsynced before the flush are there" churn_acked
	check "no file is half there" churn_whole
	say "note fsynced before the flush: $acked files; in the checkpoint:" \
		"$(find $mnt/churn -name 'c-*' | wc -l)"
	check "the guest works on" write_files $mnt/second 12
	check "fstrim" /sbin/fstrim -v $mnt
	check "umount" umount $mnt
	check "e2fsck once more" /sbin/e2fsck -fn $disk
}

i=0
while [ ! -b $disk ] && [ $i -lt 600 ]; do
	i=$((i + 1))
	tick
done
check "disk appears" test -b $disk
if [ -b $disk ]; then
	case $(boot_arg story) in before) life_before ;; after) life_after ;; esac
fi
finish
