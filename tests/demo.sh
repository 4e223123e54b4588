#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# The whole story on one machine, in a minute: a disk image with a file system and a database in it is mirrored over
# mutual TLS, committed, its primary killed, its backup taken into service, and looked at. Run it by `make demo`.
# Everything happens in one directory below /var/tmp and is gone at the end, also when interrupted.
set -u
if [ "$(id -u)" != 0 ] || [ ! -c /dev/fuse ]; then
	echo "The demo mounts and loop-mounts: it needs root and /dev/fuse." >&2
	exit 1
fi
COLOFS_TEST_DIR=${COLOFS_DEMO_DIR:-$(mktemp -du /var/tmp/colofs-demo.XXXXXX)}
. "$(dirname "$0")/lib.sh" || exit 1
exec </dev/null
start=$(now_ms)
bold='' plain=''
[ ! -t 1 ] || { bold=$'\e[1m' plain=$'\e[0m'; }

step() {
	printf '\n%s%s%s\n' "$bold" "$*" "$plain"
}
note() {
	printf '   %s\n' "$*"
}
run() { # shown, then done
	printf '   $ %s\n' "$*"
	"$@"
}
right=0 wrong=0
expect() { # WHAT GOT WANTED
	if [ "$2" = "$3" ]; then
		note "ok: $1: $2"
		right=$((right + 1))
	else
		note "WRONG: $1: $2, expected $3"
		wrong=$((wrong + 1))
	fi
}
bar() { # DONE TOTAL
	local width=40 n
	n=$(($2 > 0 ? $1 * width / $2 : width))
	printf '\r   [%s%s] %3d%%  %d of %d MiB' "$(printf '%*s' "$n" '' | tr ' ' '#')" \
		"$(printf '%*s' $((width - n)) '' | tr ' ' '.')" $((n * 100 / width)) $(($1 >> 20)) $(($2 >> 20))
}
watch_sync() {
	local end=$(($(now_ms) + 90000)) sync total=0
	until status_is "$A" .protected; do
		[ "$(now_ms)" -lt "$end" ] || fail "the initial sync does not end"
		sync=$(jq -r '[.images[].sync // empty] | "\(map(.done) | add // 0) \(map(.total) | add // 0)"' \
			<"$A/.colo/status.json")
		if [ "${sync#* }" -gt 0 ]; then
			total=${sync#* }
			# shellcheck disable=SC2086
			[ ! -t 1 ] || bar $sync
		fi
		tick 0.1
	done
	bar "$total" "$total"
	echo
}
rows() { # DATABASE
	sqlite3 "$1" 'select count(*) from ledger' 2>&1
}
insert() { # DATABASE FROM TO
	sqlite3 "$1" "with recursive n(i) as (select $2 union all select i+1 from n where i < $3)
		insert into ledger select i, 'entry number ' || i, hex(randomblob(32)) from n;"
}

step "1. Two hosts, here two directories, and a private CA with a certificate for each"
run colofsctl certs "$T/certs" a,127.0.0.1 b,127.0.0.1 >/dev/null
note "host a keeps its images in $AS, host b in $BS"

step "2. A disk image of 1 GiB with an ext4 and real files in it"
run truncate -s 1G "$AS/disk.img"
run mkfs.ext4 -q -F "$AS/disk.img"
mkdir "$T/fs" "$T/twin"
mount -o loop "$AS/disk.img" "$T/fs"
budget=350 # MiB
for dir in /usr/share/* /usr/lib/*; do
	size=$(du -sm "$dir" 2>/dev/null | cut -f1)
	[ "${size:-9999}" -le $budget ] || continue
	budget=$((budget - size))
	cp -a "$dir" "$T/fs/" 2>/dev/null || :
	[ $budget -gt 20 ] || break
done
note "$(find "$T/fs" -type f | wc -l) files, $(df -h --output=used "$T/fs" | tail -n 1 | tr -d ' ')"
umount "$T/fs"

step "3. Mount both nodes; they find each other over TLS and the first sync runs"
free_port
run mount -t fuse.colofs "$BS" "$B" -o "role=backup,listen=127.0.0.1:$PORT,tls=$T/certs/b,peer-name=a"
run mount -t fuse.colofs "$AS" "$A" -o "role=primary,peer=127.0.0.1:$PORT,tls=$T/certs/a"
t0=$(now_ms)
watch_sync
note "protected after $(($(now_ms) - t0)) ms; link: $(status "$A" .link.tls)"

step "4. Work on the disk through host a's mount"
loop=$(losetup -f --show --direct-io=on "$A/disk.img")
run mount "$loop" "$T/fs"
cp -a "$TESTS" "$T/fs/"
sqlite3 "$T/fs/bank.db" 'pragma journal_mode=wal; create table ledger(id integer primary key, what text, salt text);' >/dev/null
insert "$T/fs/bank.db" 1 10000
note "an SQLite database with $(rows "$T/fs/bank.db") committed rows, and a copy of the tests"

step "5. A checkpoint: everything so far, on both nodes, durably, at one point in time"
# Read-only for a moment, only so that we can take a checksum of exactly this state to compare with. (Not fsfreeze:
# if we were killed now, a frozen file system would stay until the host's next boot.)
mount -o remount,ro "$T/fs"
ctl "$A" "flush monday" || fail "flush: $REPLY_LINE"
note "\$ echo flush monday > $A/.colo/ctl"
note "$REPLY_LINE"
flush_ms=$TOOK_MS
monday=$(sum "$A/disk.img")
mount -o remount,rw "$T/fs"
insert "$T/fs/bank.db" 10001 20000
echo "written after the checkpoint" >"$T/fs/tuesday.txt"
sync -f "$T/fs"
note "host a goes on: $(rows "$T/fs/bank.db") rows, tuesday.txt"
expect "host b's whole disk against the checkpoint, by SHA-256" "$([ "$(sum "$B/disk.img")" = "$monday" ] && echo same || echo different)" same

step "6. Host b may write too: into its overlay, until the next checkpoint"
twin=$(losetup -f --show --direct-io=on "$B/disk.img")
run mount "$twin" "$T/twin"
expect "rows that host b sees" "$(rows "$T/twin/bank.db")" 10000
expect "tuesday.txt on host b" "$([ -e "$T/twin/tuesday.txt" ] && echo there || echo absent)" absent
echo "host b was here" >"$T/twin/twin.txt"
umount "$T/twin"
losetup -d "$twin"
note "overlay: $(status "$B" .overlay.bytes) bytes"
expect "what host b wrote, on host a" "$([ -e "$T/fs/twin.txt" ] && echo there || echo absent)" absent
ctl "$A" "flush tuesday" || fail "flush: $REPLY_LINE"
note "\$ echo flush tuesday > $A/.colo/ctl"
note "$REPLY_LINE"
expect "overlay after the checkpoint" "$(status "$B" .overlay.bytes)" 0

step "7. Host a dies in the middle of its work"
insert "$T/fs/bank.db" 20001 30000
echo "never committed" >"$T/fs/wednesday.txt"
sync -f "$T/fs"
note "host a has $(rows "$T/fs/bank.db") rows; 10000 of them since the last checkpoint"
pid=$(daemon_of "$A")
run kill -KILL "$pid"
wait_for 15 gone "$AS" || fail "it does not die"
umount -l "$T/fs" 2>/dev/null || :
losetup -d "$loop" 2>/dev/null || :
umount -l "$A" 2>/dev/null || :
wait_status "$B" '.link.state != "up"' 20

step "8. Host b takes over"
ctl "$B" failover || fail "failover: $REPLY_LINE"
note "\$ echo failover > $B/.colo/ctl"
note "$REPLY_LINE"
failover_ms=$TOOK_MS
expect "role of host b" "$(status "$B" .role)" primary
twin=$(losetup -f --show --direct-io=on "$B/disk.img")
rc=0
e2fsck -fp "$twin" >"$T/fsck.out" 2>&1 || rc=$? # replays ext4's journal, as any boot would
[ $rc -le 1 ] || sed 's/^/   /' "$T/fsck.out"
rc=0
e2fsck -fn "$twin" >"$T/fsck.out" 2>&1 || rc=$?
tail -n 1 "$T/fsck.out" | sed 's/^/   /'
expect "exit code of e2fsck" $rc 0
run mount "$twin" "$T/twin"
expect "SQLite's integrity check" "$(sqlite3 "$T/twin/bank.db" 'pragma integrity_check')" ok
expect "rows, those of both checkpoints" "$(rows "$T/twin/bank.db")" 20000
expect "tuesday.txt, checkpointed" "$([ -e "$T/twin/tuesday.txt" ] && echo there || echo absent)" there
expect "wednesday.txt, rightly gone" "$([ -e "$T/twin/wednesday.txt" ] && echo there || echo absent)" absent
expect "twin.txt, dropped with its overlay" "$([ -e "$T/twin/twin.txt" ] && echo there || echo absent)" absent
insert "$T/twin/bank.db" 30001 31000
expect "rows after host b went on working" "$(rows "$T/twin/bank.db")" 21000
umount "$T/twin"
losetup -d "$twin"

seconds=$((($(now_ms) - start + 500) / 1000))
echo
if [ $wrong != 0 ]; then
	printf '%sVERDICT: %d of %d checks went WRONG%s\n' "$bold" $wrong $((right + wrong)) "$plain"
	exit 1
fi
printf '%sVERDICT: all %d checks are right; flush %d ms, failover %d ms, the demo %d s%s\n' \
	"$bold" $right "$flush_ms" "$failover_ms" $seconds "$plain"
