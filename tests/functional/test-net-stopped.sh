#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# A daemon that is stopped for longer than link-timeout, under fio --verify. The backup: the primary's guest goes on. The
# primary: its guest waits, as for a host that is suspended, and the backup, which cannot know, stays a backup: not
# writable, at its epoch. Continued, both are a pair again by themselves.
. "$(dirname "$0")/../lib.sh" || exit 1
. "$TESTS/lib-faults.sh"
net_setup

backup_stopped() { kill -STOP "$(daemon_of "$B")"; }
backup_continued() { kill -CONT "$(daemon_of "$B")"; }

net_pair "" overlay=off
scenario backup_stopped backup_continued deaf

say primary_stopped
load_start
load_passes 1
flush "$A"
epoch=$(reply_value epoch)
kill -STOP "$(daemon_of "$A")"
wait_status "$B" '.link.state != "up"'
assert_eq "$(status "$B" '"\(.mode) \(.role) \(.epoch.committed)"')" "backup backup $epoch" "the backup"
must_fail dd if=/dev/zero of="$B/disk.img" bs=4k count=1 conv=notrunc status=none
assert_match "$OUT" "*Read-only file system*" "a write on the backup"
wait_status "$B" '.link.since_ms > 3000' # longer than any time-out of its own
assert_eq "$(status "$B" '"\(.mode) \(.role) \(.epoch.committed)"')" "backup backup $epoch" "the backup, later"
kill -CONT "$(daemon_of "$A")"
wait_protected
load_passes 1
load_stop any
wait_for 60 flush_done || fail "flush after the heal: $REPLY_LINE"
same_images "$A/disk.img" "$B/disk.img"
