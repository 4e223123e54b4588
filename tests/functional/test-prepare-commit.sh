#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Two-phase commit: a prepared epoch is unseen and keeps flush out (EBUSY) until it is committed or aborted; given
# twice, an order has the same answer; an abort leaves its writes to the next epoch, with names and sizes.
. "$(dirname "$0")/../lib.sh" || exit 1
require_root

random_file "$AS/one.img" 1000000
random_file "$AS/two.img" 3000000
pair_up
write_both() {
	dd if=/dev/urandom of="$A/one.img" bs=4k count=8 seek=3 conv=notrunc,fsync status=none
	dd if=/dev/urandom of="$A/two.img" bs=1k count=700 seek=11 conv=notrunc,fsync status=none
}
keep() { # NAME: how both images are on the primary now
	cp "$A/one.img" "$T/one.$1"
	cp "$A/two.img" "$T/two.$1"
}
backup_is() { # NAME
	assert_same "$B/one.img" "$T/one.$1"
	assert_same "$B/two.img" "$T/two.$1"
}

ctl_fails "$B" prepare EPERM
ctl_fails "$A" "commit 1" EINVAL
ctl_fails "$A" "abort 1" EINVAL
flush "$A"
keep base
say "prepared: kept ready, seen by nobody, in nobody's way but flush's"
write_both
keep first
ctl "$A" "prepare memory-1" || fail "$REPLY_LINE"
assert_match "$REPLY_LINE" "prepared epoch=* name=memory-1*"
N=$(reply_value epoch)
assert_eq "$(status "$A" .epoch.prepared)" "$N" "the primary's status"
assert_eq "$(status "$B" .epoch.prepared)" "$N" "the backup's status"
backup_is base
ctl_fails "$A" flush EBUSY
ctl_fails "$A" prepare EBUSY
ctl_fails "$A" "commit $((N + 1))" EINVAL
ctl "$A" "wait $N"
assert_match "$REPLY_LINE" "prepared epoch=$N *"
write_both # they belong to the next epoch
keep second
backup_is base
dd if=/dev/zero of="$B/one.img" bs=4k count=1 conv=notrunc status=none # the twin's, dropped by the commit
ctl "$A" "commit $N" || fail "$REPLY_LINE"
assert_match "$REPLY_LINE" "done epoch=$N name=memory-1 *"
backup_is first
assert_eq "$(status "$A" .epoch.prepared)" null
ctl "$A" "commit $N" || fail "the same order again: $REPLY_LINE"
assert_match "$REPLY_LINE" "done epoch=$N name=memory-1 *"
ctl "$A" "wait $N"
assert_match "$REPLY_LINE" "done epoch=$N name=memory-1 *"
ctl_fails "$A" "abort $N" EINVAL

say "aborted: the writes belong to the next epoch"
write_both
truncate -s 2000000 "$A/one.img"
mv "$A/two.img" "$A/three.img"
ctl "$A" "prepare nowait" || fail "$REPLY_LINE"
N=$(reply_value epoch)
assert_match "$REPLY_LINE" "started epoch=$N"
ctl "$A" "wait $N"
assert_match "$REPLY_LINE" "prepared epoch=$N *"
dd if=/dev/urandom of="$A/three.img" bs=4k count=2 conv=notrunc status=none
dd if=/dev/urandom of="$A/new.img" bs=1k count=100 status=none
ctl "$A" "abort $N" || fail "$REPLY_LINE"
assert_match "$REPLY_LINE" "done epoch=$N*"
backup_is first
ctl "$A" "abort $N" || fail "the same order again: $REPLY_LINE"
ctl_fails "$A" "commit $N" EINVAL
losses=$(metric "$A" link_losses_total)
flush "$A"
assert_eq "$(metric "$A" link_losses_total)" "$losses" "links lost by an abort"
assert_same "$B/one.img" "$A/one.img"
assert_same "$B/three.img" "$A/three.img"
assert_same "$B/new.img" "$A/new.img"
[ ! -e "$B/two.img" ] || fail "the renamed image is still there"

say "what recovery makes of it: an aborted epoch's writes are in the epoch that took them in"
cp "$A/one.img" "$T/one.last"
kill9 "$B"
start_backup
assert_same "$B/one.img" "$T/one.last"
