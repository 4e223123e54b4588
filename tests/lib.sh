# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# What every functional test starts with: `. "$(dirname "$0")/../lib.sh" || exit 1`.
#
# A test is one behaviour, one bash script: exit 0 passed, 77 skipped (the last line says why), anything
# else failed. It works in $T, its own directory on a real disk, and everything it starts is found and
# ended by that directory's name, whatever way the test ends. Nothing here waits for a fixed time: see
# wait_for. Two nodes are at hand, a and b: sources $AS and $BS, mount points $A and $B.

set -eEu -o pipefail
: "${BUILD:=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)/build}"
BUILD=$(cd "$BUILD" && pwd) || exit 1
TESTS=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export PATH="$BUILD:$PATH:/usr/sbin:/sbin" LC_ALL=C
umask 022

say() {
	printf '# %s\n' "$*"
}
fail() {
	printf 'FAIL: %s\n' "$*" >&2
	exit 1
}
skip() {
	printf 'skipped: %s\n' "$*"
	exit 77
}
require_root() {
	[ "$(id -u)" = 0 ] || skip "needs root"
	[ -c /dev/fuse ] || skip "needs /dev/fuse"
}
require() { # COMMAND...
	local c
	for c; do
		command -v "$c" >/dev/null || skip "needs $c"
	done
}

# ---- life cycle ----

# mount(8) takes PATH out of its helpers' environment, and build/colofs is in none of sh's default places. So all this
# runs in a mount namespace of its own, with a link in /usr/local/sbin. The host's directories stay as they are.
if [ "$(id -u)" = 0 ] && [ -z "${COLOFS_PRIVATE_MOUNTS:-}" ]; then
	unshare -m true 2>/dev/null || skip "needs a mount namespace"
	COLOFS_PRIVATE_MOUNTS=new exec unshare -m -- bash "$0" "$@"
fi
if [ -n "${COLOFS_TEST_DIR:-}" ]; then # the demo names its own
	T=$COLOFS_TEST_DIR
	mkdir "$T"
else
	T=$(mktemp -d "${TMPDIR:-/var/tmp}/colofs-test.XXXXXX")
fi
AS=$T/a.src A=$T/a BS=$T/b.src B=$T/b
mkdir "$AS" "$A" "$BS" "$B"
if [ "${COLOFS_PRIVATE_MOUNTS:-}" = new ]; then
	mkdir "$T/sbin" "$T/sbin.real"
	mount -o bind,ro /usr/local/sbin "$T/sbin.real"
	cp -rs "$T/sbin.real/." "$T/sbin"
	ln -sf "$BUILD/colofs" "$T/sbin/colofs"
	mount --bind "$T/sbin" /usr/local/sbin
	export COLOFS_PRIVATE_MOUNTS=made
fi
CGROUPS=()
exec {TICK}<> <(:) # nothing is ever written to it: a read that times out is how we wait

own_mounts() { # innermost first
	awk -v t="$T/" 'index($5, t) == 1 && $5 != t "sbin.real" { print $5 }' /proc/self/mountinfo | tac
}
# The daemons of this test, or of one SOURCE: by their command line, never by a bare name.
own_daemons() { # [SOURCE]
	local p want=${1:-$T/} arg comm
	for p in /proc/[0-9]*; do
		IFS= read -r comm 2>/dev/null <"$p/comm" || continue # no process each: this is called often
		[ "$comm" = colofs ] || continue
		while IFS= read -rd '' arg; do
			case $arg in "$want"*)
				[ -n "${1:-}" ] && [ "$arg" != "$1" ] && continue
				echo "${p#/proc/}"
				break
				;;
			esac
		done 2>/dev/null <"$p/cmdline" || :
	done
}
cleanup() {
	local rc=$? m p d
	trap '' EXIT INT TERM HUP ERR
	set +e
	if [ "$rc" != 0 ] && [ "$rc" != 77 ]; then
		for m in "$A" "$B"; do
			[ -e "$m/.colo/status" ] && echo "--- $m" && timeout 5 cat "$m/.colo/status"
		done
		for d in "$T"/*.log; do
			[ -s "$d" ] && echo "--- $d" && tail -n 30 "$d"
		done
	fi
	for p in $(jobs -p) $(own_daemons); do
		kill -CONT "$p" 2>/dev/null
	done
	[ -z "${COLOFS_ORDERLY_END:-}" ] || [ "$rc" != 0 ] || orderly_end || rc=1
	for p in $(jobs -p); do
		kill "$p" 2>/dev/null
	done
	for m in $(own_mounts); do
		case $(findmnt -no FSTYPE "$m") in fuse*) continue ;; esac
		umount "$m" 2>/dev/null || umount -l "$m"
	done
	for d in $(losetup -nlO NAME,BACK-FILE 2>/dev/null | awk -v t="$T/" 'index($2, t) == 1 { print $1 }'); do
		losetup -d "$d"
	done
	for p in $(own_daemons); do
		kill -9 "$p"
	done
	for m in $(own_mounts); do
		umount -l "$m" 2>/dev/null
	done
	for p in $(jobs -p); do
		kill -9 "$p" 2>/dev/null
	done
	wait 2>/dev/null
	for d in "${CGROUPS[@]}"; do
		wait_for 5 rmdir "$d" 2>/dev/null
	done
	wait_for 15 no_daemons
	cd /
	umount "$T/sbin.real" 2>/dev/null
	rm -rf --one-file-system "$T"
	exit "$rc"
}
no_daemons() {
	[ -z "$(own_daemons)" ]
}
# The sanitizers look for leaks when a daemon has come to its own end.
orderly_end() {
	local p
	for p in $(own_daemons); do
		kill -TERM "$p"
	done
	wait_for 60 no_daemons || { echo "FAIL: SIGTERM does not end $(own_daemons)" >&2 && return 1; }
}
trap cleanup EXIT
# bash 5.2 crashes when a trap exits from within `read -t`: there the exit waits until read is over.
IN_TICK='' INTERRUPTED=''
interrupted() { # CODE
	[ -z "$IN_TICK" ] || { INTERRUPTED=$1 && return 0; }
	exit "$1"
}
trap 'interrupted 129' HUP
trap 'interrupted 130' INT
trap 'interrupted 143' TERM
trap 'echo "FAIL: line $LINENO: $BASH_COMMAND (exit $?)" >&2' ERR

# ---- waiting and comparing ----

tick() { # [SECONDS]: let others run
	IN_TICK=1
	read -rt "${1:-0.05}" -u "$TICK" _ || :
	IN_TICK=''
	[ -z "$INTERRUPTED" ] || exit "$INTERRUPTED"
}
now_ms() {
	local s=${EPOCHREALTIME/./}
	echo "${s%???}"
}
wait_for() { # SECONDS COMMAND...: until it succeeds; 1 if it never did
	local end=$(($(now_ms) + $1 * 1000))
	shift
	until "$@"; do
		[ "$(now_ms)" -lt "$end" ] || return 1
		tick
	done
}
assert_eq() { # GOT WANTED WHAT
	[ "$1" = "$2" ] || fail "${3:-value}: got '$1', wanted '$2'"
}
assert_match() { # TEXT PATTERN(glob) WHAT
	# shellcheck disable=SC2254
	case $1 in $2) ;; *) fail "${3:-text}: got '$1', wanted '$2'" ;; esac
}
assert_less() { # GOT LIMIT WHAT
	[ "$1" -lt "$2" ] || fail "${3:-value}: $1 is not below $2"
}
# By 1 MiB: cmp reads 4 KiB at a time, each a request to the daemon.
assert_same() { # FILE FILE
	cmp <(whole "$1") <(whole "$2") >&2 || fail "$1 and $2 differ"
}
whole() { # FILE: two that cannot be read are not the same
	dd if="$1" bs=1M status=none || echo "cannot read $1"
}
must_fail() { # COMMAND...: it has to fail; what it said is in $OUT
	if OUT=$("$@" 2>&1); then
		fail "succeeded, but should not have: $*"
	fi
}
sum() { # FILE
	dd if="$1" bs=1M status=none | sha256sum | cut -c1-64
}
random_file() { # FILE BYTES
	head -c "$2" /dev/urandom >"$1"
}

# ---- certificates, ports, mounts ----

mkcerts() { # $T/certs/a and $T/certs/b, for localhost
	[ -d "$T/certs" ] || colofsctl certs "$T/certs" a,127.0.0.1,localhost b,127.0.0.1,localhost >/dev/null
}
free_port() { # sets PORT
	while :; do
		PORT=$((20000 + RANDOM % 12000))
		[ -n "$(ss -Hltn "sport = :$PORT")" ] || return 0
	done
}
colofs_mount() { # SOURCE MNT [OPTIONS]
	mount -t fuse.colofs "$1" "$2" ${3:+-o "$3"}
}
start_backup() { # [OPTIONS]: node b; PEER_PORT is made once
	mkcerts
	[ -n "${PEER_PORT:-}" ] || { free_port && PEER_PORT=$PORT; }
	colofs_mount "$BS" "$B" "role=backup,listen=127.0.0.1:$PEER_PORT,tls=$T/certs/b,peer-name=a${1:+,$1}"
}
start_primary() { # [OPTIONS]: node a
	mkcerts
	[ -n "${PEER_PORT:-}" ] || { free_port && PEER_PORT=$PORT; }
	colofs_mount "$AS" "$A" "role=primary,peer=127.0.0.1:$PEER_PORT,tls=${TLS_A:-$T/certs/a}${1:+,$1}"
}
pair_up() { # [OPTIONS-OF-A [OPTIONS-OF-B]]: both nodes, protected
	start_backup "${2:-}"
	start_primary "${1:-}"
	wait_protected
}
wait_protected() { # [SECONDS]
	wait_status "$A" .protected "${1:-60}"
}
# A backup in the foreground, its log in $T/b.log; likewise a primary, $T/a.log.
start_backup_fg() { # [OPTIONS]
	mkcerts
	[ -n "${PEER_PORT:-}" ] || { free_port && PEER_PORT=$PORT; }
	colofs -f "$BS" "$B" -o "role=backup,listen=127.0.0.1:$PEER_PORT,tls=$T/certs/b,peer-name=a${1:+,$1}" \
		>>"$T/b.log" 2>&1 {TICK}>&- &
	wait_for 10 test -e "$B/.colo/status" || fail "no backup: $(tail -n 3 "$T/b.log")"
}
start_primary_fg() { # [OPTIONS]
	mkcerts
	colofs -f "$AS" "$A" -o "role=primary,peer=127.0.0.1:$PEER_PORT,tls=${TLS_A:-$T/certs/a}${1:+,$1}" \
		>>"$T/a.log" 2>&1 {TICK}>&- &
	wait_for 10 test -e "$A/.colo/status" || fail "no primary: $(tail -n 3 "$T/a.log")"
}
stop() { # MNT...: orderly; done when the daemon is gone
	local m src
	for m; do
		src=$(findmnt -no SOURCE "$m") || fail "$m is not mounted"
		umount "$m"
		wait_for 60 gone "$src" || fail "the daemon of $src does not end"
	done
}
gone() { # SOURCE: no daemon, and its lock is free: one that was killed loses its command line before its files
	[ -z "$(own_daemons "$1")" ] || return 1
	[ ! -e "$1/.colofs/lock" ] || flock -n "$1/.colofs/lock" true 2>/dev/null || [ $? != 1 ]
}
source_of() { # MNT
	case $1 in "$A") echo "$AS" ;; "$B") echo "$BS" ;; *) echo "$1.src" ;; esac
}
daemon_of() { # MNT: its pid
	own_daemons "$(source_of "$1")" | head -n 1
}
kill9() { # MNT: SIGKILL, wait until it is gone, drop the dead mount
	local src pid
	src=$(source_of "$1")
	pid=$(daemon_of "$1")
	[ -n "$pid" ] || fail "no daemon for $src"
	kill -9 "$pid"
	wait_for 15 gone "$src" || fail "$pid does not die"
	umount -l "$1" 2>/dev/null || :
}

# ---- control ----

status() { # MNT JQ-EXPRESSION
	jq -r "$2" <"$1/.colo/status.json"
}
status_is() {
	timeout 10 jq -e "$2" <"$1/.colo/status.json" >/dev/null 2>&1
}
wait_status() { # MNT JQ-EXPRESSION [SECONDS]
	wait_for "${3:-20}" status_is "$1" "$2" ||
		fail "$1: never $2: $(jq -c 'del(.images)' <"$1/.colo/status.json")"
}
metric() { # MNT NAME
	awk -v n="colofs_$2" '$1 == n { print $2 }' "$1/.colo/metrics"
}
# One command, by one open file: its verdict is the exit code, its reply line REPLY_LINE, its errno's
# name ERRNO ("" on success). Milliseconds in TOOK_MS.
ctl() { # MNT COMMAND
	local fd rc=0 t0
	t0=$(now_ms)
	exec {fd}<>"$1/.colo/ctl"
	printf '%s\n' "$2" 2>/dev/null >&"$fd" || rc=1
	TOOK_MS=$(($(now_ms) - t0))
	IFS= read -r REPLY_LINE <&"$fd" || :
	exec {fd}>&-
	ERRNO=
	[ "$rc" = 0 ] || ERRNO=$(sed -n 's/.*errno=\([A-Z0-9]*\).*/\1/p' <<<"$REPLY_LINE")
	return "$rc"
}
ctl_fails() { # MNT COMMAND ERRNO
	if ctl "$1" "$2"; then
		fail "'$2' succeeded ($REPLY_LINE), wanted $3"
	fi
	assert_eq "$ERRNO" "$3" "errno of '$2' ($REPLY_LINE)"
}
flush() { # MNT [NAME]
	ctl "$1" "flush${2:+ $2}" || fail "flush: $REPLY_LINE"
}
failover() { # MNT [WORDS]
	ctl "$1" "failover${2:+ $2}" || fail "failover: $REPLY_LINE"
}
reply_value() { # KEY: from REPLY_LINE
	sed -n "s/.*\\b$1=\\([^ ]*\\).*/\\1/p" <<<"$REPLY_LINE"
}

# ---- surroundings ----

# The rest of the test runs in a network of its own, so that the link can be cut.
private_network() {
	require_root
	require nft unshare ip
	if [ -z "${COLOFS_PRIVATE_NET:-}" ]; then
		trap - EXIT ERR
		umount /usr/local/sbin "$T/sbin.real"
		rm -rf "$T"
		export COLOFS_PRIVATE_MOUNTS=new
		COLOFS_PRIVATE_NET=1 exec unshare -n -- bash "$0" "$@"
	fi
	ip link set lo up
}
cut_link() {
	nft -f - <<-'END'
		add table inet cut
		add chain inet cut in { type filter hook input priority 0; policy drop; }
	END
}
heal_link() {
	nft delete table inet cut
}
# A directory for processes that may use so many bytes of memory: CGROUP
memory_cgroup() { # BYTES
	if [ -f /sys/fs/cgroup/memory/memory.limit_in_bytes ]; then
		CGROUP=/sys/fs/cgroup/memory/colofs-test.$$.${#CGROUPS[@]}
		mkdir "$CGROUP"
		CGROUPS+=("$CGROUP")
		echo "$1" >"$CGROUP/memory.limit_in_bytes"
	elif grep -qw memory /sys/fs/cgroup/cgroup.controllers 2>/dev/null; then
		CGROUP=/sys/fs/cgroup/colofs-test.$$.${#CGROUPS[@]}
		mkdir "$CGROUP"
		CGROUPS+=("$CGROUP")
		grep -qw memory /sys/fs/cgroup/cgroup.subtree_control ||
			echo +memory >/sys/fs/cgroup/cgroup.subtree_control
		echo "$1" >"$CGROUP/memory.max" || skip "the memory controller cannot be used here"
	else
		skip "no memory cgroups"
	fi
}
in_cgroup() { # COMMAND...
	bash -c 'echo $$ >"$0/cgroup.procs" && exec "$@"' "$CGROUP" "$@"
}
# A small ext4 of its own at DIR, in a file below $T.
small_disk() { # DIR MEGABYTES
	truncate -s "$2M" "$T/${1##*/}.disk"
	mkfs.ext4 -q -m 0 "$T/${1##*/}.disk"
	mkdir -p "$1"
	mount -o loop "$T/${1##*/}.disk" "$1"
}
# The same, without a journal of its own, as a disk that can fail: every I/O on it is an error while it is dead.
failing_disk() { # DIR MEGABYTES
	truncate -s "$2M" "$T/${1##*/}.disk"
	mkfs.ext4 -q -b 4096 -m 0 -O ^has_journal "$T/${1##*/}.disk"
	mkdir -p "$1"
	mount -o loop "$T/${1##*/}.disk" "$1"
}
# From the second one on, free is only what lies in front of what was made in between, and of its bad spots: a node that
# can write neither its activity map nor its state serves no writes.
disk_front() { # DIR
	fallocate -l 24M "$1/.front"
}
disk_front_only() { # DIR
	sync -f "$1"
	dd if=/dev/zero of="$1/.rest" bs=1M status=none 2>/dev/null || : # the disk is full
	rm "$1/.front"
	sync -f "$1"
}
disk_dies() { # DIR
	loop_limit "$(findmnt -no SOURCE -M "$1")" 4096
}
disk_lives() { # DIR
	loop_limit "$(findmnt -no SOURCE -M "$1")" 0
}
# What a reboot does with a file system that saw errors. Nobody may use it meanwhile.
disk_checked() { # DIR
	local rc=0
	wait_for 10 umount "$1" 2>/dev/null || umount "$1" # a process that ends closes its files last
	e2fsck -fy "$T/${1##*/}.disk" >"$T/fsck.log" 2>&1 || rc=$?
	[ "$rc" -le 1 ] || fail "e2fsck: $(cat "$T/fsck.log")"
	mount -o loop "$T/${1##*/}.disk" "$1"
}
# Part of a file on such a disk goes bad: the middle of its piece that lies farthest out to the disk's end. What fails is
# BAD_LEN MiB at BAD_OFF, whole mebibytes.
disk_goes_bad() { # DIR FILE
	local start len physical
	sync -f "$2"
	read -r start physical len < <(filefrag -b1048576 -e -v "$2" | tr -d '.:' |
		awk '$1 ~ /^[0-9]+$/ { print $2, $4, $6 }' | sort -nk 2 | tail -n 1)
	[ "${len:-0}" -ge 4 ] || fail "$2 lies in too many pieces: $(filefrag -v "$2")"
	BAD_OFF=$((start + len / 2)) BAD_LEN=$((len - len / 2 - 1))
	loop_limit "$(findmnt -no SOURCE -M "$1")" $(((physical + len / 2) << 20))
}
# Images by pattern: LEN bytes at OFF, both in MiB, are all BYTE (two hexadecimal digits).
put_pattern() { # FILE BYTE OFF LEN
	head -c $(($4 << 20)) /dev/zero | tr '\0' "\\$(printf %o "0x$2")" |
		dd of="$1" bs=1M seek="$3" iflag=fullblock oflag=direct conv=notrunc status=none
}
assert_pattern() { # FILE BYTE OFF LEN WHAT
	dd if="$1" bs=1M skip="$3" count="$4" iflag=direct status=none |
		cmp -n $(($4 << 20)) - <(tr '\0' "\\$(printf %o "0x$2")" </dev/zero) >&2 ||
		fail "$5: not all 0x$2 from $3 MiB, $4 MiB long"
}
# A block device over a file below $T: DEV. It goes when nobody has it open any more, at the latest with the test.
make_device() { # NAME BYTES
	[ -e "$T/$1.disk" ] || truncate -s "$2" "$T/$1.disk"
	DEV=$(losetup -f --show "$T/$1.disk")
}
