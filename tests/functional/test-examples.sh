#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# What examples/ tells people to run does what it says: the checkpoint hook's exit code is the verdict, QEMU starts on a
# mounted image with that command line, failover.sh fails over only behind its fence. (xen-vm1.cfg: make check-xen.)
. "$(dirname "$0")/../lib.sh" || exit 1
require_root
require qemu-system-x86_64
examples=$TESTS/../examples

for f in "$examples"/*.sh; do
	sh -n "$f" || fail "$f"
done
random_file "$AS/disk.img" $((4 << 20))
pair_up
sh "$examples/checkpoint.sh" "$A" monday >"$T/out" || fail "checkpoint.sh: $(cat "$T/out")"
assert_match "$(cat "$T/out")" "done epoch=* name=monday *" "checkpoint.sh"
assert_eq "$(status "$B" .epoch.name)" monday "the backup's epoch"

# as it stands, but for the image's place; its serial line and monitor are on stdio
sed "s|/srv/vm1/|$A/|; s|kvm:||" "$examples/qemu-vm1.sh" >"$T/qemu-vm1.sh"
printf '%s\n' "info block" 'qemu-io virtio0 "write -P 7 0 64k"' 'qemu-io virtio0 flush' quit |
	timeout 60 sh "$T/qemu-vm1.sh" -S -serial none -monitor stdio >"$T/out" 2>&1 || fail "qemu: $(cat "$T/out")"
grep -q "virtio0.*$A/disk.img" "$T/out" || fail "no virtio0 on $A/disk.img: $(cat "$T/out")"
grep -q 'wrote 65536/65536' "$T/out" || fail "not written: $(cat "$T/out")"
sh "$examples/checkpoint.sh" "$A" >"$T/out" || fail "checkpoint.sh: $(cat "$T/out")"
assert_same "$A/disk.img" "$B/disk.img"

kill9 "$A"
wait_status "$B" '.link.state != "up"'
must_fail sh "$examples/checkpoint.sh" "$B"
assert_match "$OUT" "*fail errno=EPERM reason=*" "checkpoint.sh on a backup"
must_fail sh "$examples/failover.sh" "$B" false
assert_eq "$(status "$B" .role)" backup "role, not fenced"
sh "$examples/failover.sh" "$B" true >"$T/out" 2>&1 || fail "failover.sh: $(cat "$T/out")"
assert_eq "$(status "$B" .role)" primary "role, fenced"
