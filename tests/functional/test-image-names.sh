#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# create, unlink, rename within the mount, statfs; what a directory of disks has not is EPERM.
. "$(dirname "$0")/../lib.sh" || exit 1
require_root

colofs_mount "$AS" "$A"
random_file "$A/one" 100000
cp "$A/one" "$T/one"
mv "$A/one" "$A/two"
assert_same "$A/two" "$T/one"
[ ! -e "$A/one" ] || fail "the old name is still there"
random_file "$A/three" 50000
mv "$A/two" "$A/three"
assert_same "$A/three" "$T/one"
assert_eq "$(ls "$A")" three "names"
exec {held}<"$A/three"
rm "$A/three"
cmp - "$T/one" <&"$held" || fail "an unlinked open image lost its data"
exec {held}<&-
assert_eq "$(ls "$A")" "" "names after rm"

denied() { # TEXT COMMAND...
	local text=$1
	shift
	must_fail "$@"
	assert_match "$OUT" "*$text*" "$*"
}
: >"$A/x"
denied 'not permitted' mkdir "$A/dir"
denied 'not permitted' ln -s x "$A/link"
denied 'not permitted' ln "$A/x" "$A/hard"
denied 'not permitted' mknod "$A/null" c 1 3
denied 'not permitted' mkfifo "$A/fifo"
denied 'multibyte' touch "$A/"$'\xff\xfe'
denied '' rm "$A/.colo/ctl"
denied '' touch "$A/.colo/new"
denied '' touch "$A/.hidden"
touch "$A/größe ☃.img"
[ -e "$AS/größe ☃.img" ] || fail "a UTF-8 name"
stat -f "$A" >/dev/null
assert_eq "$(df --output=size "$A" | tail -n 1)" "$(df --output=size "$AS" | tail -n 1)" "statfs"
