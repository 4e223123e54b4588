#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# SIZE (10G) of writes in one epoch, each node in a cgroup of 256 MiB. Once with a journal that holds it all, of which one
# flush makes an epoch. Once over and over on an image of a twentieth, with a journal of a tenth: the epoch is refused, the
# guest goes on, what the peer lacks is sent again, and the pair is protected without a hand laid on it.
# Needs three and a half times SIZE of room below TMPDIR. Prints both nodes' memory and the flushes' times.
. "$(dirname "$0")/../lib.sh" || exit 1
require_root
require fio qemu-img

: "${SIZE:=10G}"
bytes=$(numfmt --from=iec "$SIZE")
limit=$((256 << 20))
[ "$(df -B1 --output=avail "$T" | tail -n 1)" -gt $((bytes / 2 * 7)) ] || fail "not enough room in $T for $SIZE"

peak() { # CGROUP: bytes
	cat "$1/memory.max_usage_in_bytes" 2>/dev/null || cat "$1/memory.peak"
}
mounted() { # SOURCE MNT OPTIONS: in a cgroup of its own
	memory_cgroup "$limit"
	in_cgroup mount -t fuse.colofs "$1" "$2" -o "$3"
	grep -qx "$(own_daemons "$1")" "$CGROUP/cgroup.procs" || fail "the daemon of $1 is not in its cgroup"
}
both() { # JOURNAL-SIZE
	mkcerts
	free_port
	mounted "$BS" "$B" "role=backup,listen=127.0.0.1:$PORT,tls=$T/certs/b,peer-name=a,journal-size=$1"
	group_b=$CGROUP
	mounted "$AS" "$A" "role=primary,peer=127.0.0.1:$PORT,tls=$T/certs/a,link-timeout=20s,flush-timeout=120s"
	group_a=$CGROUP
	daemons="$(daemon_of "$A") $(daemon_of "$B")"
	wait_protected 120
}
figures() { # WHAT
	local m name group
	for m in "$A" "$B"; do
		name=primary group=$group_a
		[ "$m" = "$A" ] || name=backup group=$group_b
		say "$1, $name: resident at most $(awk '/VmHWM/ { print $2 / 1024 }' "/proc/$(daemon_of "$m")/status") MiB," \
			"cgroup at most $(($(peak "$group") >> 20)) MiB"
		assert_less "$(status "$m" .memory.resident)" "$limit" "resident memory, $name"
	done
	assert_eq "$(daemon_of "$A") $(daemon_of "$B")" "$daemons" "the daemons"
}
write() { # FILE BYTES-OF-IT BYTES: sequentially, over and over
	fio --name=write --filename="$1" --rw=write --bs=256k --size="$2" --io_size="$3" --ioengine=io_uring --iodepth=8 \
		--direct=1 --refill_buffers >"$T/fio.log" 2>&1 || fail "the guest: $(tail "$T/fio.log")"
	sed -n 's/^ *write: IOPS/# guest: IOPS/p' "$T/fio.log"
}
ended() {
	umount "$A" "$B"
	wait_for 600 no_daemons || fail "still there: $(own_daemons)"
}

say "journal-size of $((bytes * 12 / 10 >> 20)) MiB, one epoch of $SIZE"
truncate -s "$bytes" "$AS/disk.img"
both $((bytes * 12 / 10))
dd if=/dev/urandom of="$A/disk.img" bs=64k count=1 oflag=direct conv=notrunc status=none
flush "$A"
say "flush of 64 KiB: $TOOK_MS ms"
write "$A/disk.img" "$bytes" "$bytes"
assert_eq "$(status "$A" .protected)" true protected
wait_status "$A" '.pending.bytes == 0' 120
[ "$(status "$A" .uncommitted.bytes)" -ge "$bytes" ] || fail "only $(status "$A" .uncommitted.bytes) bytes are uncommitted"
flush "$A"
say "flush of $SIZE: $TOOK_MS ms"
figures "one epoch"
qemu-img compare -q -f raw -F raw "$A/disk.img" "$B/disk.img" || fail "the images differ"
wait_status "$B" '.journal.sealed == 0' 900
figures "destaged"
ended

rm "$AS/disk.img" "$BS/disk.img"
rm -rf "$AS/.colofs" "$BS/.colofs"
say "journal-size of $((bytes / 10 >> 20)) MiB, $SIZE onto $((bytes / 20 >> 20)) MiB"
truncate -s $((bytes / 20)) "$AS/disk.img"
both $((bytes / 10))
flush "$A"
epoch=$(reply_value epoch)
write "$A/disk.img" $((bytes / 20)) "$bytes"
[ "$(metric "$A" journal_refusals_total)" -gt 0 ] || fail "the epoch was not refused"
[ "$(metric "$A" guest_errors_total)" = 0 ] || fail "the guest got an error"
began=$(now_ms)
wait_protected 300
say "refused $(metric "$A" journal_refusals_total) times after epoch $epoch; protected again $(($(now_ms) - began)) ms after the last write"
flush "$A"
say "flush: $TOOK_MS ms, epoch $(reply_value epoch)"
[ "$(du -cm "$BS"/.colofs/journal/*/j* 2>/dev/null | awk 'END { print $1 }' || echo 0)" -le $(((bytes / 10 >> 20) + 64)) ] ||
	fail "the journal is larger than its limit"
qemu-img compare -q -f raw -F raw "$A/disk.img" "$B/disk.img" || fail "the images differ"
figures "a small journal"
ended
