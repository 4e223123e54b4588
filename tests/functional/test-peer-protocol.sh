#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# colofs-protocol(7) is enough to write another implementation: tests/peer, made from that page alone, is a backup to
# a primary, a primary to a backup, and reads a killed backup's state and journal.
. "$(dirname "$0")/../lib.sh" || exit 1
require_root

mkcerts
C=$T/certs
a=(-c "$C/a/client-cert.pem" -k "$C/a/client-key.pem")
b=(-c "$C/b/server-cert.pem" -k "$C/b/server-key.pem")
free_port
PEER_PORT=$PORT

# ---- a backup for a primary: first sync, mirrored writes, commits ----
random_file "$AS/one.img" 3000000
truncate -s 5M "$AS/holes.img"
mkdir "$T/copy"
: >"$T/peer.log"
coproc PEER { exec {TICK}>&-; peer "${b[@]}" listen "127.0.0.1:$PEER_PORT" 2>&1 | tee "$T/peer.log"; }
exec {to}>&"${PEER[1]}"
wait_for 10 grep -q listening "$T/peer.log" || fail "the peer does not listen"
start_primary
cat >&"$to" <<-END
	until HELLO
	hello role=2 pair=none gen=0 committed=0 epoch=0 session=0
	until WELCOME
	frame READY off=1000000000
	serve dir=$T/copy
END
wait_protected
dd if=/dev/urandom of="$A/one.img" bs=5000 count=100 seek=7 conv=notrunc status=none
fallocate -p -o 1000000 -l 500000 "$A/one.img"
truncate -s 4000000 "$A/one.img"
dd if=/dev/urandom of="$A/holes.img" bs=4k count=9 seek=100 conv=notrunc status=none
flush "$A" first
assert_same "$A/one.img" "$T/copy/one.img"
assert_same "$A/holes.img" "$T/copy/holes.img"
grep -q '^< COMMIT' "$T/peer.log" || fail "no COMMIT came"
stop "$A"
wait_for 10 grep -q closed "$T/peer.log" || fail "the connection stays"
grep -q '^< BYE' "$T/peer.log" || fail "no BYE came"
exec {to}>&-

# ---- a primary for a backup ----
random_file "$T/mine.img" 2500000
start_backup
peer "${a[@]}" connect "127.0.0.1:$PEER_PORT" >"$T/peer2.log" <<-END
	until HELLO
	hello role=1 pair=none gen=77
	welcome gen=77
	until READY
	mirror $T/mine.img mine.img 4711
	commit name=mine
	until DONE
	frame SIZE image=4711 len=2600000
	frame ZERO image=4711 off=4096 len=40000 flags=1
	frame DATA image=4711 off=0 text=hello
	frame RENAME image=4711 text=yours.img
	commit
	until DONE
	frame DATA image=4711 off=100 text=taken
	commit prepare=1
	until PREPARED
	frame SETTLE epoch=4 off=1
	until DONE
	frame DATA image=4711 off=200 text=later
	commit prepare=1
	until PREPARED
	frame SETTLE epoch=5 off=0
	until ABORTED
	frame DATA image=4711 off=300 text=both
	commit
	until DONE
	frame DATA image=4711 off=0 text=never
	frame BYE
	closed
END
truncate -s 2600000 "$T/mine.img"
fallocate -z -o 4096 -l 40000 "$T/mine.img"
printf hello | dd of="$T/mine.img" conv=notrunc status=none
printf taken | dd of="$T/mine.img" conv=notrunc status=none bs=1 seek=100
printf later | dd of="$T/mine.img" conv=notrunc status=none bs=1 seek=200
printf both | dd of="$T/mine.img" conv=notrunc status=none bs=1 seek=300
assert_same "$B/yours.img" "$T/mine.img"
assert_eq "$(ls "$B")" yours.img "the names on the backup"
assert_eq "$(status "$B" .peer.generation)" 000000000000004d "the generation of the commit"

# ---- a journal, read ----
stop "$B"
rm -rf "$AS" "$BS"
mkdir "$AS"
small_disk "$BS" 20
truncate -s 40M "$AS/disk.img"
dd if=/dev/urandom of="$AS/disk.img" bs=1M count=3 conv=notrunc status=none
mkdir -m 700 "$T/journal"
pair_up "" "journal=$T/journal,journal-size=64M"
flush "$A"
wait_status "$B" '.journal.sealed == 0'
dd if=/dev/zero of="$BS/.filler" bs=64k status=none 2>/dev/null || :
ctl "$A" "prepare early" || fail "$REPLY_LINE"
prepared=$(reply_value epoch)
dd if=/dev/urandom of="$A/disk.img" bs=64k count=5 seek=70 conv=notrunc,fsync status=none
ctl "$A" "abort $prepared" || fail "$REPLY_LINE"
for i in 1 2 3; do # each writes what the one before wrote, and more
	dd if=/dev/urandom of="$A/disk.img" bs=64k count=$((i * 20)) seek=60 conv=notrunc status=none
	fallocate -p -o $((i * 6000000)) -l 100000 "$A/disk.img"
	wait_for 60 ctl "$A" "flush epoch-$i" || fail "flush: $REPLY_LINE" # a full journal is tried again
done
epoch=$(status "$B" .epoch.committed)
cp --sparse=always "$A/disk.img" "$T/wanted"
dd if=/dev/urandom of="$A/disk.img" bs=64k count=30 seek=80 conv=notrunc,fsync status=none
wait_for 60 ctl "$A" prepare || fail "$REPLY_LINE" # likewise
dd if=/dev/urandom of="$A/disk.img" bs=64k count=30 seek=90 conv=notrunc,fsync status=none # neither is committed
wait_status "$B" '.uncommitted.bytes > 0'
kill9 "$B"
mkdir "$T/out"
node=$(cat "$BS/.colofs/node-id")
peer disk "$BS/.colofs/state" "$T/journal/$node" >"$T/disk.log" || fail "damaged: $(cat "$T/disk.log")"
id=$(awk '/^image/ { print $2 }' "$T/disk.log")
cp --sparse=always "$BS/disk.img" "$T/out/$id"
peer disk "$BS/.colofs/state" "$T/journal/$node" "$T/out" >"$T/disk.log" || fail "damaged: $(cat "$T/disk.log")"
cat "$T/disk.log"
assert_eq "$(awk '/committed/ { e = $2 } END { print e }' "$T/disk.log")" "$epoch" "the last epoch in the journal"
assert_same "$T/wanted" "$T/out/$id"
