#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# An address that is in use is an error of the mount, on a backup and on a primary alike. It decides nothing: the node's
# role is what was ordered.
. "$(dirname "$0")/../lib.sh" || exit 1
require_root

truncate -s 1M "$AS/disk.img"
start_backup
mkdir "$T/c.src" "$T/c"
for role in backup primary; do
	rc=0
	colofs "$T/c.src" "$T/c" -o "role=$role,listen=127.0.0.1:$PEER_PORT,tls=$T/certs/b,peer-name=a" 2>"$T/err" || rc=$?
	assert_eq "$rc" 32 "exit code as $role ($(cat "$T/err"))"
	grep -q "$PEER_PORT" "$T/err" || fail "which address: $(cat "$T/err")"
	[ ! -e "$T/c/.colo" ] || fail "it is mounted, as $role"
done
start_primary
wait_protected
assert_eq "$(status "$B" .role)" backup "role of who was there first"
