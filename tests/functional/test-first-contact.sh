#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# The first contact: a backup that has images of another origin is refused and nothing is touched, unless it says
# overwrite=yes; a copied SOURCE is refused; a backup becomes a primary only by failover.
. "$(dirname "$0")/../lib.sh" || exit 1
require_root

random_file "$AS/disk.img" 1000000
random_file "$BS/disk.img" 1000000
random_file "$BS/precious.img" 5000
mine=$(sum "$BS/disk.img")
start_backup
start_primary
wait_status "$A" '.last_error.text // "" | test("overwrite|exist|image"; "i")' 30
assert_eq "$(status "$A" .protected)" false protected
stop "$A" "$B"
assert_eq "$(sum "$BS/disk.img")" "$mine" "the backup's own image"
start_backup overwrite=yes
start_primary
wait_protected
assert_same "$A/disk.img" "$B/disk.img"
[ ! -e "$B/precious.img" ] || fail "an image that the primary has not is still shown"

stop "$B"
must_fail colofs_mount "$BS" "$B" "role=primary,peer=127.0.0.1:$PEER_PORT,tls=$T/certs/b"
assert_match "$OUT" '*failover*' "the message names the way"
colofs "$BS" "$B" -o "role=primary,peer=127.0.0.1:$PEER_PORT,tls=$T/certs/b" 2>/dev/null || rc=$?
assert_eq "${rc:-0}" 32 "exit code"
stop "$A"

mkdir "$T/copy" "$T/copy.mnt"
cp -a "$AS/." "$T/copy/"
colofs_mount "$T/copy" "$T/copy.mnt" "role=primary,listen=127.0.0.1:$PEER_PORT,tls=$T/certs/b,peer-name=a,start-alone"
must_fail start_primary
assert_match "$OUT" '*same node id*' "what a primary says that meets its own copy"
start_primary start-alone
wait_status "$A" '.last_error.text // "" | length > 0' 30
assert_eq "$(status "$A" .protected)" false "protected with its own copy"
