#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# One image's disk fails: the other images of the mount are written, committed and protected as before, and another node of
# the same machine does not change its mode.
# daemon-may-fail: a disk of its is bad, and it says so at its end
. "$(dirname "$0")/../lib.sh" || exit 1
require_root
require filefrag

failing_disk "$AS" 200
disk_front "$AS"
put_pattern "$AS/good.img" 11 0 8
put_pattern "$AS/bad.img" 11 0 64
disk_front_only "$AS"
mkdir "$T/c.src" "$T/c"
put_pattern "$T/c.src/disk.img" 11 0 8
colofs_mount "$T/c.src" "$T/c"
pair_up
disk_goes_bad "$AS" "$AS/bad.img"
must_fail put_pattern "$A/bad.img" 33 "$BAD_OFF" 1
put_pattern "$A/good.img" 22 0 8
flush "$A"
assert_pattern "$B/good.img" 22 0 8 "the other image, on the backup"
assert_eq "$(status "$A" '.images[] | select(.name == "good.img") | .state + " " + (.dirty_bytes | tostring)')" "consistent 0" \
	"the other image"
assert_eq "$(status "$A" .mode)" primary "mode of the primary"
assert_eq "$(status "$T/c" .mode)" unprotected "mode of another node"
put_pattern "$T/c/disk.img" 44 0 8
assert_eq "$(status "$T/c" .last_error)" null "error of another node"
