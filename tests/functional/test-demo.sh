#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# `make demo` ends well and leaves nothing behind, also when it is interrupted.
# not-sanitized: it is about a script, and starts no daemon otherwise than the others do
. "$(dirname "$0")/../lib.sh" || exit 1
require_root
require sqlite3 mkfs.ext4 losetup

COLOFS_DEMO_DIR=$T/demo "$TESTS/demo.sh" >"$T/demo.log" 2>&1 || fail "the demo failed"
[ ! -e "$T/demo" ] || fail "it left $T/demo"
no_daemons || fail "it left a daemon"
[ -z "$(own_mounts)" ] || fail "it left a mount"

# interrupted while it works on the mounted image
COLOFS_DEMO_DIR=$T/demo "$TESTS/demo.sh" >"$T/demo.log" 2>&1 {TICK}>&- &
pid=$!
wait_for 60 grep -q 'SQLite' "$T/demo.log" || fail "it never got to the database"
kill -TERM "$pid"
rc=0
wait "$pid" || rc=$?
[ "$rc" != 0 ] || fail "an interrupted demo says it went well"
[ ! -e "$T/demo" ] || fail "interrupted, it left $T/demo"
no_daemons || fail "interrupted, it left a daemon"
[ -z "$(losetup -nlO BACK-FILE | grep "$T/" || :)" ] || fail "interrupted, it left a loop device"
