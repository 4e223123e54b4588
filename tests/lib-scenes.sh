# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# The life of a pair, scene by scene, behind lib.sh: two nodes in networks of their own, a cable between them (lib-faults.sh),
# two images, and a guest that keeps account of every write that was acknowledged (keeper.c). $KEPT is a directory of plain
# files: what the images have to be. A scene ends with `end_equal`: both mounts, and both SOURCEs behind an orderly end, are that.

: "${IMAGE_MB:=16}"
. "$TESTS/lib-faults.sh"

KEPT=$T/kept
scene_setup() { # disk.img has data in its first half, and a hole
	net_setup
	random_file "$T/data" $((IMAGE_MB << 19))
	dd if="$T/data" of="$AS/disk.img" bs=1M conv=notrunc status=none
	random_file "$AS/two.img" 3000001
	mkdir "$KEPT"
	cp "$AS"/*.img "$KEPT"
}
up() { # MNT ROLE [OPTIONS]
	local opts="role=$2,link-timeout=1s${3:+,$3}"
	case $1 in
	"$A") colofs_mount "$AS" "$A" "peer=10.0.0.2,peer-name=b,tls=$T/certs/a,$opts" ;;
	"$B") in_b mount -t fuse.colofs "$BS" "$B" -o "listen=10.0.0.2,peer-name=a,tls=$T/certs/b,$opts" ;;
	esac
}
scene_pair() { # [OPTIONS-OF-A [OPTIONS-OF-B]]
	scene_setup
	up "$B" backup "${2:-}"
	up "$A" primary "${1:-}"
	wait_protected
}
cable_out() { # both have noticed
	in_b ip link set vb down
	wait_status "$A" '.link.state | . == "off" or . == "connecting"'
	wait_status "$B" '.link.state | . == "off" or . == "connecting"'
}
cable_in() {
	in_b ip link set vb up
}
write_mb() { # MNT OFF LEN COUNT [IMAGE]: COUNT writes within LEN MiB at OFF MiB, as acknowledged in $KEPT too
	local f=${5:-disk.img}
	keeper write "$1/$f" "$KEPT/$f" $(($2 << 20)) $(($3 << 20)) "$4" >"$T/keeper.log" 2>&1 || fail "$(cat "$T/keeper.log")"
}
told() { # MNT IMAGE BLOCK COUNT: the same by 4 KiB blocks; also makes an image
	dd if=/dev/urandom of="$T/data" bs=4k count="$4" status=none
	dd if="$T/data" of="$1/$2" bs=4k seek="$3" conv=notrunc,fsync status=none
	dd if="$T/data" of="$KEPT/$2" bs=4k seek="$3" conv=notrunc status=none
}
kept_as() { # NAME: what the images have to be now, under another name
	cp -r "$KEPT" "$T/kept.$1"
}
is_kept() { # DIR [KEPT]: its images, all of them, are what was kept
	local f kept=${2:-$KEPT}
	assert_eq "$(ls "$1")" "$(ls -I '*.doubt' -I '*.new' "$kept")" "names in $1"
	for f in "$1"/*; do
		keeper check "$f" "$kept/${f##*/}" || fail "$f is not what its guest wrote"
	done
}
end_equal() { # PRIMARY BACKUP
	flush "$1"
	is_kept "$1"
	is_kept "$2"
	stop "$1" "$2"
	is_kept "$AS"
	is_kept "$BS"
}
