#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# mount returns only when the mount answers; a node alone is unprotected; umount leaves nothing behind.
. "$(dirname "$0")/../lib.sh" || exit 1
require_root

random_file "$AS/disk.img" 1000000
want=$(sum "$AS/disk.img")
colofs_mount "$AS" "$A"
assert_eq "$(sum "$A/disk.img")" "$want" "the image through the mount"
assert_eq "$(status "$A" .mode)" unprotected mode
assert_eq "$(status "$A" .role)" unprotected role
assert_eq "$(findmnt -no FSTYPE "$A")" fuse.colofs "type of the mount"
assert_eq "$(stat -c %a "$AS/.colofs")" 700 "mode of .colofs"
assert_eq "$(stat -c %a "$A/.colo/ctl")" 600 "mode of ctl"
assert_eq "$(stat -c %a "$A/.colo/status")" 444 "mode of status"
stop "$A"
assert_eq "$(findmnt -no FSTYPE "$A" || :)" "" "a mount after umount"
assert_eq "$(sum "$AS/disk.img")" "$want" "the image file"

# the foreground, and SIGTERM as an orderly end
colofs -f "$AS" "$A" 2>"$T/a.log" {TICK}>&- &
wait_for 10 test -e "$A/.colo/status" || fail "no mount in the foreground"
kill -TERM "$(daemon_of "$A")"
wait_for 20 gone "$AS" || fail "SIGTERM does not end it"
assert_eq "$(findmnt -no FSTYPE "$A" || :)" "" "a mount after SIGTERM"

colofs -V | grep -q '[0-9]\.[0-9]' || fail "no version from -V"
colofs -h | grep -q 'journal-size' || fail "no options in -h"
