# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# A guest that never stops writing, and faults while it does: behind lib.sh, for tests/functional/test-net-*.sh,
# test-clock-*.sh and test-disk-*.sh.
#
# Links: node a is in this test's network, node b in another, with a cable between them: the veth ends `va` and `vb`. Both
# SOURCEs are on tmpfs, so that a stall is the link's and never the disk's. Each fault is a `scenario`: break, see that
# the guest goes on, mend, see that all comes back by itself.
#
# Disks: a file system on a loop device on a file that nbdfuse shows, of a disk that nbdkit serves and makes fail.

: "${LINK_TIMEOUT_MS:=2000}"
LOAD_BS=4k LOAD_SIZE=4M                  # of a write, of a pass (at most 4M)
: "${IMAGE_MB:=64}"
STALL_MS_MAX=$((LINK_TIMEOUT_MS + 1000)) # what a guest may see

in_b() { # COMMAND...: in node b's network
	nsenter -t "$B_NET" -n -- "$@"
}
other_network() {
	[ "$(readlink "/proc/$1/ns/net" || :)" != "$(readlink /proc/self/ns/net)" ]
}
net_setup() {
	private_network
	require fio tc nsenter qemu-img
	unshare -n cat <&"$TICK" >/dev/null & # reads what is never written, until the test ends
	B_NET=$!
	wait_for 10 other_network "$B_NET" || fail "no second network"
	ip link add va type veth peer name vb netns "$B_NET"
	ip addr add 10.0.0.1/24 dev va
	in_b ip addr add 10.0.0.2/24 dev vb
	in_b ip link set lo up
	ip link set va up
	in_b ip link set vb up
	mount -t tmpfs -o mode=700 none "$AS"
	mount -t tmpfs -o mode=700 none "$BS"
	truncate -s ${IMAGE_MB}M "$AS/disk.img"
	mkcerts
	A_ENV=() B_ENV=() # what the daemons run under
}
net_start_a() { # [OPTIONS]
	"${A_ENV[@]}" colofs -f "$AS" "$A" -o "role=primary,peer=10.0.0.2,peer-name=b,tls=$T/certs/a,link-timeout=${LINK_TIMEOUT_MS}ms${1:+,$1}" \
		>>"$T/a.log" 2>&1 {TICK}>&- &
	wait_for 10 test -e "$A/.colo/status" || fail "no primary: $(tail -n 3 "$T/a.log")"
}
net_start_b() { # [OPTIONS]
	in_b "${B_ENV[@]}" colofs -f "$BS" "$B" -o "role=backup,listen=10.0.0.2,peer-name=a,tls=$T/certs/b,link-timeout=${LINK_TIMEOUT_MS}ms${1:+,$1}" \
		>>"$T/b.log" 2>&1 {TICK}>&- &
	wait_for 10 test -e "$B/.colo/status" || fail "no backup: $(tail -n 3 "$T/b.log")"
}
net_pair() { # [OPTIONS-OF-A [OPTIONS-OF-B]]
	net_start_b "${2:-}"
	net_start_a "${1:-}"
	wait_protected
}

# ---- the guest ----

# fio, pass after pass, each one written at depth 16 and read back by its checksums, until load_stop; each behind the
# last one, so that what was written while a link was down is not written again when it is back. $T/passes has a line for
# each: the longest request, ms. It ends at the first error.
load_loop() {
	local max slot=0
	while [ ! -e "$T/load.stop" ]; do
		fio --name=load --filename="$A/disk.img" --rw=randwrite --bs="$LOAD_BS" --offset=$((slot * 4))M \
			--size="$LOAD_SIZE" --ioengine=io_uring --iodepth=16 --direct=1 --rate_iops=2000,2000 \
			--verify=crc32c --verify_fatal=1 --verify_state_save=0 --randrepeat=0 --output-format=json \
			--output="$T/fio.json" >"$T/fio.log" 2>&1 || { echo "exit $?" >"$T/load.failed" && return; }
		max=$(jq '[.jobs[0] | .write, .read | .lat_ns.max] | max / 1000000 | ceil' "$T/fio.json")
		echo "$max" >>"$T/passes"
		slot=$(((slot + 1) % (IMAGE_MB / 4)))
	done
}
load_start() {
	rm -f "$T/load.stop" "$T/load.failed" "$T/passes"
	: >"$T/passes"
	(
		trap - EXIT ERR
		set +eE
		load_loop
	) {TICK}>&- &
	LOAD=$!
}
load_reached() { # COUNT
	[ ! -e "$T/load.failed" ] || fail "the guest: $(cat "$T/load.failed" "$T/fio.log" "$T/fio.json")"
	[ "$(wc -l <"$T/passes")" -ge "$1" ]
}
load_passes() { # COUNT more, begun or ended from now on
	wait_for 120 load_reached $(($(wc -l <"$T/passes") + $1)) || fail "the guest hangs"
}
load_stop() { # [any]: no error, and no request longer than a guest may wait
	local max
	: >"$T/load.stop"
	wait "$LOAD" || :
	load_reached 1 || fail "the guest did nothing"
	max=$(sort -n "$T/passes" | tail -n 1)
	say "  $(wc -l <"$T/passes") passes, longest request $max ms"
	[ -n "${1:-}" ] || [ "$max" -le "$STALL_MS_MAX" ] || fail "a request took $max ms, $STALL_MS_MAX are allowed"
}

# ---- disks ----

# An ext4 at DIR whose disk fails as long as $T/NAME.fault exists (reads: NAME.readfault). EIO, ENOSPC: writes fail with
# that. FLUSH: flushes do, with EIO; each request is a process then, so for small ones. No journal: the file system has to
# stay writable, as one on a disk with a bad spot does, for the daemon to meet the error.
faulty_disk() { # NAME DIR MEGABYTES EIO|ENOSPC|FLUSH
	local d=$T/$1.disk loop kit
	truncate -s "$3M" "$d.raw"
	if [ "$4" = FLUSH ]; then
		kit=(eval get_size="stat -c %s $d.raw" flush="[ ! -e $T/$1.fault ] || { echo failed flush >>$d.hits; echo EIO >&2; exit 1; }"
			pread="dd if=$d.raw iflag=skip_bytes,count_bytes skip=\$4 count=\$3 bs=128k status=none"
			pwrite="dd of=$d.raw oflag=seek_bytes seek=\$4 bs=128k iflag=fullblock conv=notrunc status=none"
			can_write=true can_flush=true)
	else
		kit=(--filter=error file "$d.raw" error="$4" error-pwrite-rate=1 error-pwrite-file="$T/$1.fault"
			error-pread-rate=1 error-pread-file="$T/$1.readfault")
	fi
	nbdkit -f -U "$d.sock" "${kit[@]}" >"$d.log" 2>&1 {TICK}>&- &
	wait_for 10 test -S "$d.sock" || fail "no nbdkit: $(cat "$d.log")"
	: >"$d"
	nbdfuse "$d" --unix "$d.sock" >"$d.fuse.log" 2>&1 {TICK}>&- &
	wait_for 10 test -s "$d" || fail "no nbdfuse: $(cat "$d.fuse.log")"
	loop=$(losetup -f --show --direct-io=on "$d")
	mkfs.ext4 -q -O ^has_journal -m 0 "$loop"
	mkdir -p "$2"
	mount -o errors=continue "$loop" "$2"
	losetup -d "$loop" # it goes with its mount, whatever way the test ends
	chmod 700 "$2"
	rm -rf "$2/lost+found"
}
disk_breaks() { # NAME
	: >"$T/$1.fault"
}
disk_mended() { # NAME
	rm -f "$T/$1.fault" "$T/$1.readfault"
}
disk_hits() { # NAME: requests that failed
	cat "$T/$1.disk.log" "$T/$1.disk.hits" 2>/dev/null | grep -cE 'injecting|failed flush' || :
}
disk_was_hit() { # NAME
	[ "$(disk_hits "$1")" -gt 0 ]
}

# ---- the frame of links ----

same_images() { # FILE FILE: in large reads; each of cmp's is a request of its own
	qemu-img compare -q -f raw -F raw "$1" "$2" || fail "$1 and $2 differ"
}
flush_done() {
	ctl "$A" flush
}
# Both copies are whole again, by themselves, and equal at a flush.
net_healed() {
	wait_protected
	load_passes 1
	load_stop
	wait_for 60 flush_done || fail "flush after the heal: $REPLY_LINE"
	wait_protected
	same_images "$A/disk.img" "$B/disk.img"
}
# The link is lost under load by BREAK; the guest goes on alone, the backup keeps its epoch; MEND, and all is as before.
# With a third word the backup cannot be asked meanwhile.
scenario() { # BREAK MEND [deaf]
	local losses epoch
	say "$1"
	load_start
	load_passes 1
	flush "$A"
	epoch=$(reply_value epoch)
	losses=$(metric "$A" link_losses_total)
	"$1"
	wait_status "$A" '.link.state != "up"'
	[ "$(metric "$A" link_losses_total)" -gt "$losses" ] || fail "$1 was not noticed"
	load_passes 2
	assert_eq "$(status "$A" '"\(.protected) \(.mode)"')" "false unprotected" "protected and mode of the primary"
	if [ -z "${3:-}" ]; then
		wait_status "$B" '.link.state != "up"'
		assert_eq "$(status "$B" '"\(.mode) \(.epoch.committed)"')" "backup $epoch" "mode and epoch of the backup"
	fi
	"$2"
	net_healed
}
