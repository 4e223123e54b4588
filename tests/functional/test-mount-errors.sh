#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# What cannot be mounted says why in one line, exits 1 (usage) or 32 (mount failure) and leaves nothing.
. "$(dirname "$0")/../lib.sh" || exit 1
require_root

refused() { # CODE WHAT ARGUMENT...
	local want=$1 what=$2 rc=0
	shift 2
	colofs "$@" >"$T/out" 2>"$T/err" </dev/null || rc=$?
	assert_eq "$rc" "$want" "exit code, $what ($(cat "$T/err"))"
	assert_eq "$(wc -l <"$T/err")" 1 "lines of the message, $what"
	[ -z "$(own_mounts)" ] || fail "something stayed mounted: $what"
	no_daemons || fail "a daemon stayed: $what"
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
