#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# A primary with the right certificate that does not keep to the protocol: whatever it says, the backup closes the
# connection with a reason in status, goes on, keeps its committed epoch and its images, and takes the true primary.
. "$(dirname "$0")/../lib.sh" || exit 1
require_root

random_file "$AS/disk.img" 1000000
start_backup journal-size=64M
start_primary
wait_protected
flush "$A"
stop "$A"
wait_status "$B" '.journal.sealed == 0'
image=$(sum "$BS/disk.img")
epoch=$(status "$B" .epoch.committed)
daemon=$(daemon_of "$B")
images_of() {
	find "$BS" -maxdepth 1 -type f -printf '%f %s %C@\n'
}
files=$(images_of)
me=(-c "$T/certs/a/client-cert.pem" -k "$T/certs/a/client-key.pem")

wrongs() {
	echo $(($(metric "$B" link_refusals_total) + $(metric "$B" link_losses_total)))
}
caught() { # BEFORE WORDS
	[ "$(wrongs)" -gt "$1" ] && [[ $(status "$B" .last_error.text) =~ $2 ]]
}
# The commands end with the node closing the connection; status then has these words.
lie() { # WHAT WORDS COMMANDS
	local before out
	before=$(wrongs)
	out=$(printf '%b\nclosed\n' "$3" >"$T/commands" && peer "${me[@]}" -s "$T/commands" connect "127.0.0.1:$PEER_PORT" 2>&1) ||
		fail "$1: $out"
	wait_for 10 caught "$before" "$2" || fail "$1: $(status "$B" .last_error.text) ($out)"
	! grep -qE '^< (DATA|ZERO|IMAGE|CREATE|HASHQ|COMMIT|DONE)' <<<"$out" || fail "$1: $out"
	assert_eq "$(status "$B" .mode)" backup "mode, after: $1"
	assert_eq "$(status "$B" .epoch.committed)" "$epoch" "the committed epoch, after: $1"
	assert_eq "$(images_of)" "$files" "the images, after: $1"
	say "$1: $(status "$B" .last_error.text)"
}
H='until HELLO\nhello'
W="$H\nwelcome"
S="$W\nuntil READY"

# ---- before there is a session ----
lie "garbage" 'not a colofs frame' 'noise 3000'
lie "a damaged header" 'damaged frame header' 'frame PING badhead=1'
lie "frame type 0" 'unknown frame type' 'frame 0'
lie "frame type 99" 'unknown frame type' 'frame 99'
lie "an oversized HELLO" 'too long' 'frame HELLO plen=400000'
lie "a HELLO with a wrong checksum" 'checksum' 'frame HELLO fill=100 sum=5'
lie "a HELLO of noise" 'a HELLO frame that no sound' 'frame HELLO fill=5000'
lie "a HELLO cut short" 'a HELLO frame that no sound' "$H image=99:9:1:x cut=1"
lie "a HELLO that goes on" 'a HELLO frame that no sound' "$H trail=1"
lie "a HELLO with 1025 images" 'a HELLO frame that no sound' "$H images=1025"
lie "a HELLO that counts wrongly" 'a HELLO frame that no sound' "$H count=0x40000000"
lie "a HELLO with a name with a slash" 'a HELLO frame that no sound' "$H image=99:9:1:../x"
lie "a HELLO with a huge image" 'a HELLO frame that no sound' "$H image=99:0x1000000000000:1:x"
lie "two HELLOs" 'HELLO' "until HELLO\nframe HELLO fill=3"
lie "another version" 'no common protocol version' "$H min=3 max=9"
lie "an older version" 'no common protocol version' "$H min=1 max=1"
lie "another pair" 'another pair' "$H pair=00112233445566778899aabbccddeeff"
lie "no pair" 'another pair' "$H pair=none"
lie "my own node id" 'same node id' "$H node=peer"
lie "a backup for a backup" 'both nodes are backups' "$H role=2"
lie "an unprotected node" 'roles do not fit' "$H role=0"
lie "role 7" 'a HELLO frame that no sound' "$H role=7"
lie "data before the welcome" 'turned down.*DATA' "$H\nframe DATA image=first fill=4096"
lie "WELCOME before HELLO" 'turned down.*WELCOME' "until HELLO\nwelcome"
lie "an old session" 'WELCOME' "$H\nwelcome session=-1"
lie "an old epoch" 'WELCOME' "$H\nwelcome epoch=$epoch"
lie "a generation of nobody" 'split brain' "$H\nwelcome gen=12345"
lie "a WELCOME to another pair" 'another pair' "$H\nwelcome pair=00112233445566778899aabbccddeeff"
lie "a session number that uses up all" 'HELLO|WELCOME' "$H session=0x7ffffffffffffffe\nwelcome session=0x7fffffffffffffff"
lie "a WELCOME that uses up all sessions" 'WELCOME' "$H\nwelcome session=0xffffffffffffffff"
lie "a WELCOME that uses up all epochs" 'WELCOME' "$H\nwelcome epoch=0x7fffffffffffffff"

# ---- in a session ----
lie "a damaged payload" 'checksum|DATA' "$S\nframe DATA image=first fill=4096 sum=1"
lie "an oversized DATA" 'too long' "$S\nframe DATA image=first plen=65537"
lie "a DATA of 4 GiB" 'too long' "$S\nframe DATA image=first plen=0xffffffff"
lie "an empty DATA" 'bad DATA' "$S\nframe DATA image=first"
lie "half a frame" 'closed|broke' "$S\nframe DATA image=first plen=4096\nclose"
lie "data beyond any image" 'bad DATA' "$S\nframe DATA image=first off=0xffffffffffff fill=4096"
lie "an offset that overflows" 'bad DATA' "$S\nframe DATA image=first off=0xfffffffffffff001 fill=4096"
lie "a length that overflows" 'range beyond' "$S\nframe ZERO image=first off=1 len=0xffffffffffffffff"
lie "a size beyond any image" 'range beyond' "$S\nframe SIZE image=first len=0x1000000000000"
lie "a size beyond the file system" 'larger' "$S\nframe SIZE image=first len=0xfffffffff000\ncommit"
lie "data beyond the file system" 'larger' "$S\nframe DATA image=first off=0xffffffff0000 fill=4096\ncommit"
lie "a new image beyond the file system" 'larger' "$S\nframe IMAGE image=77 len=0xfffffffff000 text=huge"
lie "an unknown image" 'DATA' "$S\nframe DATA image=4711 fill=4096"
for id in 0 1 15 0x4000000000000000; do # the mount's own inodes are among them
	lie "image $id" 'no image can have' "$S\nframe CREATE image=$id text=zero\ncommit"
done
lie "image 1 in a HELLO" 'a HELLO frame that no sound' "$H image=1:9:1:x"
lie "a sequence with a gap" 'ZERO' "$S\nframe ZERO image=first off=0 len=9 seq=3"
lie "a sequence repeated" 'ZERO' "$S\nframe ZERO image=first off=0 len=9\nframe ZERO image=first off=0 len=9 seq=1"
lie "another session" 'DATA' "$S\nframe DATA image=first fill=4096 session=1"
lie "another epoch" 'DATA' "$S\nframe DATA image=first fill=4096 epoch=+1"
lie "COMMIT of an epoch never sent" 'COMMIT' "$S\ncommit epoch=+7"
lie "COMMIT of more than came" 'COMMIT' "$S\nframe DATA image=first fill=4096\ncommit len=2"
lie "COMMIT of another chain" 'COMMIT' "$S\nframe DATA image=first fill=4096\ncommit image=+1"
lie "COMMIT of other numbers" 'COMMIT' "$S\nframe DATA image=first fill=4096\ncommit off=0 seq=0"
lie "COMMIT of a generation of nobody" 'COMMIT' "$S\ncommit gen=99"
lie "COMMIT without a generation" 'bad COMMIT' "$S\ncommit plen=7"
lie "taking an epoch that was never prepared" 'SETTLE' "$S\nframe SETTLE epoch=99 off=1"
lie "PREPARE of a first sync" 'PREPARE' "$S\nframe IMAGE image=99 len=5 text=new\ncommit prepare=1"
lie "a name with a slash" 'RENAME' "$S\nframe RENAME image=first text=../../etc/passwd"
lie "a name with a dot" 'RENAME' "$S\nframe RENAME image=first text=.colofs"
lie "a name of 256 bytes" 'too long' "$S\nframe RENAME image=first fill=256"
lie "a name with a zero" 'CREATE' "$S\nframe CREATE image=88 hex=610062"
lie "a name that is not UTF-8" 'IMAGE' "$S\nframe IMAGE image=88 hex=61ff62"
lie "two images of one name" 'COMMIT' "$S\nframe CREATE image=88 text=same\nframe CREATE image=89 text=same\ncommit"
lie "another image's name" 'COMMIT' "$S\nframe CREATE image=88 text=new\nframe RENAME image=88 text=disk.img\ncommit"
lie "another image's name in a first sync" 'COMMIT' "$S\nframe IMAGE image=88 text=disk.img\ncommit"
lie "an empty name" 'empty image name' "$S\nframe CREATE image=88"
lie "a storm of zeroes for a first sync" 'more than there is room' "$S\nframe IMAGE image=99 len=1000000 text=storm\nagain 400000 ZERO image=99 len=4096 flags=1"
lie "a storm of beginnings" 'more than there is room' "$S\nagain 400000 IMAGE image=99 len=1000000 text=storm"
lie "a storm of sizes" 'more than there is room' "$S\nframe IMAGE image=99 len=1000000 text=storm\nagain 400000 SIZE image=99 len=4096"
lie "1025 images" 'CREATE' "$S\nagain 1030 CREATE image=5000 istep=1 text=many"
lie "1025 images in their first sync" 'IMAGE' "$S\nagain 1030 IMAGE image=5000 istep=1 text=many"
lie "a first sync of a whole image" 'IMAGE' "$S\nframe IMAGE image=first len=5 text=disk.img"
lie "more data than was granted" 'overran its credit' "$S\nagain 100000 DATA image=first fill=1 off=0"
lie "a question to an unknown image" 'HASHQ' "$S\nframe HASHQ image=4711 len=4096 fill=32"
lie "a question of 1 GiB" 'range beyond' "$S\nframe HASHQ image=first len=0x40000000 fill=32"
lie "DONE to a backup" 'DONE' "$S\nframe DONE epoch=$epoch"
lie "FENCE to a backup" 'FENCE' "$S\nframe FENCE"
lie "CREDIT to a backup" 'CREDIT' "$S\nframe CREDIT off=0xffffffffffffffff"
lie "a second WELCOME" 'WELCOME' "$S\nwelcome"
# From here on an epoch is prepared, until the true primary drops it.
lie "COMMIT over a prepared epoch" 'COMMIT' "$S\ncommit prepare=1\nuntil PREPARED\ncommit"
lie "the prepared epoch again" 'WELCOME' "$H\nwelcome epoch=-1"
assert_eq "$(daemon_of "$B")" "$daemon" "the daemon"
assert_eq "$(sum "$B/disk.img")" "$image" "the image"

# ---- the true primary ----
start_primary
wait_protected
dd if=/dev/urandom of="$A/disk.img" bs=64k count=9 conv=notrunc status=none
flush "$A"
assert_same "$A/disk.img" "$B/disk.img"
stop "$A"
stop "$B"
assert_same "$AS/disk.img" "$BS/disk.img"
