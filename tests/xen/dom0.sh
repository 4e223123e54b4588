#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# The story of `make check-xen`, run in dom0 by its init (see images.sh): a colofs primary and its backup, mutual TLS
# between them; a PV guest with a qdisk on the primary's mount; a checkpoint while it writes; the primary, QEMU and the
# guest killed; failover; the guest again, from the backup's mount. What the guest does is in guest.sh.
#
# /share is tests/xen/run's directory on the host: verdicts go to out/checks ("ok   NAME", "FAIL NAME", or a line of
# report that starts with blanks), logs to out/, `fault` names something to break on purpose.
set -u
share=/share out=/share/out
as=/srv/a.src a=/srv/a bs=/srv/b.src b=/srv/b at_flush=/srv/at-flush.img
disk_mib=64 wait_s=300
fault=$(cat $share/fault)
exec {TICK}<> <(:)

# ---- verdicts and waiting ----

say() {
	printf '%s\n' "$*" >>$out/checks
	printf '%s\n' "$*"
}
note() {
	say "     $*"
}
check() { # NAME COMMAND...
	local name=$1
	shift
	if "$@" >/tmp/check.log 2>&1; then
		say "ok   $name"
		return 0
	fi
	say "FAIL $name"
	tail -n 8 /tmp/check.log | while IFS= read -r line; do note "$line"; done
	return 1
}
must() { # likewise, and without it there is no point in going on
	check "$@" || end
}
tick() {
	read -rt 0.2 -u "$TICK" _
}
wait_for() { # COMMAND...: until it succeeds; 1 if it did not in $wait_s
	local end=$((SECONDS + wait_s))
	until "$@" >/dev/null 2>&1; do
		[ $SECONDS -lt $end ] || { echo "waited $wait_s s for: $*" && return 1; }
		tick
	done
	return 0
}
end() {
	local m
	for m in $a $b; do
		[ ! -e $m/.colo/status ] || timeout 20 cat $m/.colo/status.json >$out/status-${m##*/}.json
	done
	cp /tmp/con/* /tmp/*.cfg /tmp/*.log /var/log/xen/* $out/ 2>/dev/null
	dmesg >$out/dmesg
	check "dom0's kernel complains of nothing" dmesg_clean
	touch $out/end
	exit 0
}
dmesg_clean() {
	! grep -E 'segfault|BUG:|Oops|blocked for more than|general protection' $out/dmesg
}

# ---- Xen and guests ----

start_xen() {
	mkdir -p /run/xen /run/xenstored /run/lock /tmp/con
	xenstored --pid-file /run/xen/xenstored.pid
	wait_for xenstore-read / || return 1
	xen-init-dom0 && xenconsoled --pid-file=/run/xen/xenconsoled.pid --log=guest --log-dir=/tmp/con
}
guest_create() { # NAME IMAGE KERNEL-ARGUMENTS
	guest=$1 half='' marks='' churned=0
	cat >"/tmp/$1.cfg" <<-END
		name = "$1"
		type = "pv"
		kernel = "/boot/vmlinux"
		ramdisk = "$share/initrd-guest"
		extra = "console=hvc0 mitigations=off nokaslr quiet loglevel=3 panic=-1 $3"
		memory = 256
		on_poweroff = "destroy"
		on_crash = "destroy"
		on_reboot = "destroy"
		$(sed -n "/^disk =/s|/srv/vm1/disk.img|$2|p" $share/examples/xen-vm1.cfg)
	END
	: >"/tmp/con/guest-$1.log"
	exec {guest_fd}<"/tmp/con/guest-$1.log"
	xl create -F "/tmp/$1.cfg" >"/tmp/xl-$1.log" 2>&1 &
	xl_pid=$!
}
# What it said since we last looked: its verdicts become ours. All in bash: each process costs much under emulation.
relay() {
	local line
	while IFS= read -r line <&"$guest_fd" || { half+=$line && false; }; do
		line=$half$line half=''
		line=${line%$'\r'}
		case $line in
		"GUEST ok "*) say "ok   $guest: ${line#GUEST ok }" ;;
		"GUEST FAIL "*) say "FAIL $guest: ${line#GUEST FAIL }" ;;
		"GUEST note "*) note "$guest: ${line#GUEST note }" ;;
		"GUEST churn "*) churned=${line##* } ;;
		"GUEST mark "*) marks+=" ${line##* } " ;;
		esac
	done
}
guest_marked() { # WORD
	relay
	[[ $marks == *" $1 "* ]]
}
marked_or_dead() {
	guest_marked "$1" || ! kill -0 "$xl_pid" 2>/dev/null
}
await_guest() { # WORD: until it says so
	wait_for marked_or_dead "$1"
	guest_marked "$1" && return 0
	cat "/tmp/xl-$guest.log" "/var/log/xen/qemu-dm-$guest.log"
	tail -n 5 "/tmp/con/guest-$guest.log"
	return 1
}
churned_to() { # NUMBER: that many files were promised to the guest to be on stable storage
	relay
	[ "$churned" -ge "$1" ]
}
guest_gone() {
	! kill -0 "$xl_pid" && ! xl domid "$guest"
}
type_to_guest() { # WORD
	echo "$1" >"$(xenstore-read "/local/domain/$(xl domid "$guest")/console/tty")"
}

# ---- colofs ----

install_colofs() {
	cp -a $share/root/. / && colofs -V
}
state() { # MNT JQ-EXPRESSION
	jq -er "$2" <"$1/.colo/status.json"
}
pair_up() {
	local wide="link-timeout=300s,flush-timeout=300s" # an emulated machine may be starved for long
	ip link set lo up
	mkdir -p $as $a $bs $b && chmod 700 $as $bs && truncate -s ${disk_mib}M $as/disk.img &&
		colofsctl certs /srv/pki a,127.0.0.1 b,127.0.0.1 &&
		mount -t fuse.colofs $bs $b -o "role=backup,listen=127.0.0.1,tls=/srv/pki/b,peer-name=a,$wide" &&
		mount -t fuse.colofs $as $a -o "role=primary,peer=127.0.0.1,tls=/srv/pki/a,peer-name=b,$wide" &&
		wait_for state $a .protected
}
daemon_pid() { # SOURCE
	pgrep -f "^[^ ]*colofs $1 "
}
flush() {
	[ "$fault" != skip-flush ] || return 0
	echo flush >$a/.colo/ctl || { cat $a/.colo/ctl && return 1; }
}
# QEMU's process and descriptor of the image: who has it open?
find_qemu() {
	local f
	for f in /proc/[0-9]*/fd/*; do
		[ "$(readlink "$f")" = "$1" ] || continue
		qemu_pid=${f#/proc/} qemu_fd=$f
		qemu_pid=${qemu_pid%%/*}
		return 0
	done
	return 1
}
# How the qdisk's QEMU does its I/O, from what the kernel knows of the process.
report_qdisk() {
	local flags aio=threads cache=writeback n
	flags=$(awk '$1 == "flags:" { print $2 }' "${qemu_fd/fd/fdinfo}")
	(((flags & 040000) == 0)) || cache=none
	readlink "/proc/$qemu_pid"/fd/* | grep -q io_uring && aio=io_uring
	grep -q '/\[aio\]' "/proc/$qemu_pid/maps" && aio=native
	n=$(grep -lx worker "/proc/$qemu_pid"/task/*/comm | wc -l)
	note "qdisk: aio=$aio ($n worker threads now), cache=$cache, open flags $flags"
	note "qdisk: QEMU is linked with: $(grep -oE 'lib(aio|uring)[^/]*$' "/proc/$qemu_pid/maps" | sort -u |
		tr '\n' ' ' | grep . || echo 'neither libaio nor liburing')"
	note "qdisk: $(xenstore-ls "/local/domain/0/backend/qdisk/$(xl domid "$guest")/51712" |
		grep -E '^(params|mode|direct-io-safe|discard-enable|feature-[a-z-]*|max-ring-page-order)' | tr '\n' ' ')"
}
report_io() { # MNT
	note "colofs: $(awk '/^colofs_guest_[a-z_]*_total/ { sub("colofs_guest_", ""); sub("_total", ""); printf "%s=%s ", $1, $2 }' \
		"$1/.colo/metrics")"
}

# ---- the story ----

dirty() {
	[ "$(state $a .uncommitted.bytes)" -gt 0 ]
}
kill_primary() {
	local pid
	pid=$(daemon_pid $as) && kill -9 "$pid" && wait_for test ! -e "/proc/$pid" || return 1
	kill -9 "$qemu_pid"
	xl destroy "$guest" && wait_for guest_gone && umount -l $a
}
link_lost() {
	state $b '.link.state != "up"'
}
fail_over() {
	[ "$fault" != no-failover ] || return 0
	echo failover >$b/.colo/ctl
	local rc=$?
	cat $b/.colo/ctl
	return $rc
}
same_as_at_flush() { # in large reads: cmp's own are small, and each is a request to the daemon
	dd if=$b/disk.img bs=1M status=none | cmp - $at_flush
}
reply_has() { # MNT PATTERN
	cat "$1/.colo/ctl"
	grep -qE "$2" "$1/.colo/ctl"
}
corrupt() { # one block in sixteen
	local i
	for ((i = 0; i < disk_mib * 16; i++)); do
		dd if=/dev/urandom of=$b/disk.img bs=4k count=1 seek=$((i * 16)) conv=notrunc status=none
	done
}
on_the_primary() {
	local acked early
	guest_create vm1 $a/disk.img story=before
	must "vm1: started, and its files are written" await_guest written
	find_qemu $a/disk.img
	must "the image is open in a QEMU of Xen's" grep -aq xen-qemu "/proc/${qemu_pid:-none}/cmdline"
	report_qdisk
	must "the guest goes on writing" wait_for churned_to 3
	check "examples/checkpoint.sh" sh $share/examples/checkpoint.sh $a early
	early=$(state $b .epoch.committed)
	must "more files after it" wait_for churned_to $((churned + 3))
	acked=$churned
	check "echo flush > $a/.colo/ctl" flush
	note "$(cat $a/.colo/ctl)"
	epoch=$(state $b .epoch.committed)
	check "both nodes are at one new epoch" [ "$early $(state $a .epoch.committed)" = "$((epoch - 1)) $epoch" ]
	dd if=$b/disk.img of=$at_flush bs=1M conv=sparse status=none
	check "the guest goes on after the flush" wait_for churned_to $((acked + 5))
	type_to_guest flushed
	must "vm1: more is written after the flush" await_guest unflushed
	check "the primary counts it as uncommitted" dirty
	check "the backup shows none of it" same_as_at_flush
	report_io $a
	relay
	before_kill=$churned
	must "SIGKILL: the primary, its QEMU, the guest" kill_primary
	note "files fsynced by vm1: $acked before the flush, $before_kill before the kill"
	guest_acked=$acked
}
on_the_backup() {
	check "the backup notices" wait_for link_lost
	check "echo failover > $b/.colo/ctl" fail_over
	check "it took epoch $epoch, and says what is lost" \
		reply_has $b "^done epoch=$epoch lost_bytes=[1-9]"
	note "$(cat $b/.colo/ctl)"
	check "its role is primary" state $b '.role == "primary"'
	[ "$fault" != corrupt-image ] || corrupt
	check "its disk is that of the flush, byte for byte" same_as_at_flush
	guest_create vm2 $b/disk.img "story=after acked=$guest_acked"
	must "vm2: the guest again, to its end" await_guest finished
	check "vm2: shut down" wait_for guest_gone
	report_io $b
}
afterwards() {
	check "umount drains" umount $b
	check "no daemon is left" wait_for no_daemon
	check "e2fsck of the image file" e2fsck -fn $bs/disk.img
	check "what vm2 wrote is in it" second_files
}
no_daemon() {
	! pgrep -x colofs
}
second_files() {
	debugfs -R "rdump /second /tmp" $bs/disk.img && cd /tmp/second && sha256sum -c SUMS
}

must "Xen runs" start_xen
note "Xen $(xl info | awk '/^xen_version/ { print $3 }'), dom0 Linux $(uname -r), up $(cut -d' ' -f1 /proc/uptime) s"
must "colofs runs in dom0" install_colofs
must "a pair, protected" pair_up
note "colofs $(state $a .version), link $(state $a .link.tls)"
check "the link is TLS 1.3" state $a '.link.tls | startswith("TLSv1.3")'
on_the_primary
on_the_backup
afterwards
end
