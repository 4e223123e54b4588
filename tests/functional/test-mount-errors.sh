#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# What cannot be mounted says why in one line, exits 1 (usage) or 32 (mount failure) and leaves nothing: wrong options, and
# SOURCEs that may not be served, whatever was logged before that was known. What the peer said is in the line.
. "$(dirname "$0")/../lib.sh" || exit 1
require_root

refused() { # CODE WHAT ARGUMENT...
	local want=$1 what=$2 rc=0
	shift 2
	colofs "$@" >"$T/out" 2>"$T/err" </dev/null || rc=$?
	assert_eq "$rc" "$want" "exit code, $what ($(cat "$T/err"))"
	assert_eq "$(wc -l <"$T/err")" 1 "lines of the message, $what ($(cat "$T/err"))"
	[ -z "$(own_mounts | grep -x "$A" || :)" ] || fail "something stayed mounted: $what"
	[ -z "$(own_daemons "$AS")" ] || fail "a daemon stayed: $what"
}
not_a() { # PATTERN WHAT OPTIONS [CERTIFICATES]: mount(8) of node a's SOURCE
	local rc=0
	colofs_mount "$AS" "$A" "peer=127.0.0.1:$PEER_PORT,tls=${4:-$T/certs/a},$3" >"$T/err" 2>&1 || rc=$?
	assert_eq "$rc" 32 "exit code, $2 ($(cat "$T/err"))"
	assert_eq "$(wc -l <"$T/err")" 1 "lines of the message, $2 ($(cat "$T/err"))"
	assert_match "$(cat "$T/err")" "$1" "message, $2"
	[ -z "$(own_mounts | grep -x "$A" || :)" ] || fail "something stayed mounted: $2"
	wait_for 10 gone "$AS" || fail "a daemon stayed: $2"
}
fill() {
	local block
	for block in 64k 4k 1k; do
		dd if=/dev/zero of="$AS/.ballast" oflag=append conv=notrunc,fsync bs=$block status=none 2>/dev/null || :
	done
}
mkcerts
refused 1 "no arguments"
refused 1 "no mount point" "$AS"
refused 1 "unknown option" "$AS" "$A" -o no-such-option=1
refused 1 "bad number" "$AS" "$A" -o link-timeout=soon
refused 1 "bad size" "$AS" "$A" -o journal-size=12Q
refused 1 "bad role" "$AS" "$A" -o role=king
refused 1 "primary without a peer" "$AS" "$A" -o role=primary
refused 1 "listen without a name to check" "$AS" "$A" -o "role=backup,listen=127.0.0.1:7421,tls=$T/certs/b"
refused 1 "a peer without tls" "$AS" "$A" -o role=primary,peer=127.0.0.1:7421
refused 1 "insecure beyond loopback" "$AS" "$A" -o role=primary,peer=192.0.2.1:7421,insecure=yes
refused 1 "bad pin" "$AS" "$A" -o "role=primary,peer=127.0.0.1:7421,tls=$T/certs/a,peer-pin=sha256:1234"
refused 32 "no source" "$T/none" "$A"
refused 32 "no mount point there" "$AS" "$T/none"
refused 32 "no certificates" "$AS" "$A" -o "role=primary,peer=127.0.0.1:7421,tls=$T/none"
refused 32 "address in use or foreign" "$AS" "$A" -o "role=backup,listen=192.0.2.1:7421,tls=$T/certs/b,peer-name=a"

rc=0
colofs_mount "$T/none" "$A" 2>"$T/err" || rc=$?
[ "$rc" != 0 ] || fail "mount(8) of a missing source succeeded"
[ -s "$T/err" ] || fail "mount(8) said nothing"
refused 1 "an option of two lines" "$AS" "$A" -o $'no\nsuch=1'

say "a primary whose peer cannot be asked"
small_disk "$AS" 40
random_file "$AS/disk.img" 1000000
pair_up
flush "$A"
stop "$A"
colofsctl certs "$T/other" a,127.0.0.1 b,127.0.0.1 >/dev/null
way='*mount with -o start-alone'
not_a "*is not for peer-name=zz; it names: b 127.0.0.1 localhost)$way" "the peer has another name" role=primary,peer-name=zz,peer-wait=1s
not_a "*the peer's certificate was refused: self-signed certificate in certificate chain)$way" "the peer has another CA" \
	role=primary,peer-wait=1s "$T/other/a"
not_a "*the peer refused our certificate: bad certificate*$way" "our certificate has another name" role=primary,peer-wait=1s "$T/certs/b"
not_a "*SOURCE is a primary's, and its peer was not promoted*" "a primary as backup" role=backup
kill9 "$B"
not_a "*nobody listens there*$way" "nobody there" role=primary,peer-wait=1s
# On a terminal one sees what it waits for, until that is over.
script -qec "colofs '$AS' '$A' -o role=primary,peer=127.0.0.1:$PEER_PORT,tls=$T/certs/a,peer-wait=2s" /dev/null >"$T/tty" 2>&1 </dev/null || :
assert_match "$(cat "$T/tty")" $'*asking the peer*\r\e[[]Kcolofs: the peer cannot be asked*' "on a terminal"

say "a full disk"
fill
not_a '*state file cannot be written: No space left on device; make room in the file system of SOURCE*' "a full disk" role=primary,start-alone
mv "$AS/.colofs" "$T/kept"
rm "$AS/.ballast"
fill
not_a '*cannot make */.colofs: No space left on device; make room in that file system*' "a full disk, for the first time" role=primary
rm "$AS/.ballast"
mv "$T/kept" "$AS/.colofs"

say "split brain: the whole account"
start_primary start-alone
dd if=/dev/urandom of="$A/disk.img" bs=64k count=3 conv=notrunc,fsync status=none
stop "$A"
start_backup
failover "$B"
dd if=/dev/urandom of="$B/disk.img" bs=64k count=2 conv=notrunc,fsync status=none
not_a "*split brain behind epoch *: here generation *, epoch *, * bytes since, *; there $(status "$B" .generation), epoch *, 131072 bytes*$way" \
	"split brain" role=primary
