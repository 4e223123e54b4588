#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Builds what `make check-xen` boots, in the directory CACHE: images.sh CACHE. Called by tests/xen/run.
#
# Everything is from Debian 12 packages, fetched by apt-get from the mirror that this machine's own apt uses, but with
# a state directory of its own: nothing is installed, no root is needed. What it leaves in CACHE/img:
#   xen, vmlinux     the hypervisor, and the kernel of dom0 and of the guest, both unpacked (slow under emulation)
#   initrd-dom0      finds the root disk;   root.img: dom0's root, whose init runs /share/dom0.sh (9p, tag "share")
#   initrd-guest     the guest's tools; its init runs /guest.sh, which tests/xen/run appends;   busybox: packs that
# CACHE/img/key says of which version of this file they are; packages are kept for the next one. A line on fd 3 says
# what is going on; when something goes wrong, one says what.
set -u
cache=$1
suite=bookworm xen=4.17
packages="base-files dash bash coreutils grep busybox-static libc-bin util-linux mount kmod e2fsprogs procps jq
	fuse3 libfuse3-3 liburing2 libssl3 libxxhash0
	xen-hypervisor-$xen-amd64 xen-utils-$xen xenstore-utils qemu-system-xen"
apt=$cache/apt root=$cache/root kernel=$cache/kernel img=$cache/img.new
archives=$apt/cache/archives

tell() {
	printf '%s\n' "$*" >&3
}
give_up() {
	tell "check-xen: $*"
	exit 1
}

# ---- packages ----

# "deb ..." lines for the Debian 12 repositories in this machine's sources.
sources() {
	local keys=/usr/share/keyrings/debian-archive-keyring.gpg
	# shellcheck disable=SC2016 # apt's own variables
	apt-get indextargets --format '$(REPO_URI) $(RELEASE)' 'Created-By: Packages' 2>/dev/null |
		awk -v s=$suite -v keys="$keys" '$2 == s || $2 == s "-security" || $2 == s "-updates" {
			print "deb", "[signed-by=" keys "]", $1, $2, "main" }' | sort -u
}
apt_options=(-q -o "Dir::State=$apt" -o "Dir::State::lists=$apt/lists" -o "Dir::State::status=$apt/status"
	-o "Dir::Cache=$apt/cache" -o "Dir::Etc::sourcelist=$apt/sources.list" -o Dir::Etc::sourceparts=/dev/null
	-o Dir::Etc::preferences=/dev/null -o Dir::Etc::preferencesparts=/dev/null -o APT::Architecture=amd64
	-o APT::Architectures=amd64 -o APT::Install-Recommends=false -o Debug::NoLocking=1
	-o Acquire::Retries=2 -o "APT::Sandbox::User=$(id -un)")

fetch() {
	local linux sites
	mkdir -p "$apt/lists/partial" "$archives/partial"
	: >"$apt/status"
	sources >"$apt/sources.list"
	[ -s "$apt/sources.list" ] ||
		give_up "no Debian 12 ($suite) repository among this machine's apt sources: add one, then try again"
	sites=$(awk '{ print $(NF - 2) }' "$apt/sources.list" | sort -u | tr '\n' ' ')
	rm -f "$archives"/*.deb
	tell "fetching Xen and Linux for the emulated machine from $sites"
	# shellcheck disable=SC2086
	apt-get "${apt_options[@]}" -o APT::Update::Error-Mode=any update &&
		apt-get "${apt_options[@]}" -y --download-only install $packages &&
		linux=$(apt-cache "${apt_options[@]}" depends linux-image-amd64 |
			awk '/Depends: linux-image/ { print $2; exit }') && [ -n "$linux" ] &&
		(cd "$archives" && apt-get "${apt_options[@]}" download "$linux") ||
		give_up "apt-get cannot fetch the packages from $sites
$(grep -E '^(E|Err|W):' "$cache/images.log" | tail -n 5)"
	echo $packages >"$apt/fetched"
}
unpack() {
	local deb
	rm -rf "$root" "$kernel"
	mkdir -p "$root" "$kernel"
	for deb in "$archives"/*.deb; do
		case $deb in
		*/linux-image-*) dpkg-deb -x "$deb" "$kernel" ;;
		*) dpkg-deb -x "$deb" "$root" ;;
		esac || give_up "${deb##*/} cannot be unpacked: remove $apt and try again"
	done
	version=$(basename "$kernel"/lib/modules/*)
	[ -d "$kernel/lib/modules/$version" ] || give_up "no kernel among the packages"
}

# ---- images ----

# A program of the packages, run here with the packages' libraries.
libs=$root/lib/x86_64-linux-gnu:$root/usr/lib/x86_64-linux-gnu
ld=$root/lib64/ld-linux-x86-64.so.2
kmod() { # NAME ARGUMENTS...
	"$ld" --argv0 "$1" --library-path "$libs" "$root/bin/kmod" "${@:2}"
}
add_modules() { # DIR MODULE...: with all they need
	local dir=$1 m f
	shift
	for m; do
		kmod modprobe -d "$kernel" -S "$version" --show-depends "$m" || exit 1
	done | awk '$1 == "insmod" { print $2 }' | sort -u | while read -r f; do
		mkdir -p "$dir/$(dirname "${f#"$kernel"}")" && cp "$f" "$dir/${f#"$kernel"}" || exit 1
	done || return 1
	mkdir -p "$dir/lib/modules/$version"
	cp "$kernel/lib/modules/$version/"modules.{order,builtin,builtin.modinfo} "$dir/lib/modules/$version/" &&
		kmod depmod -b "$dir" "$version"
}
add_programs() { # DIR PROGRAM...: with their libraries
	local dir=$1 p
	shift
	mkdir -p "$dir/sbin" "$dir/lib/x86_64-linux-gnu" "$dir/lib64"
	cp -L "$ld" "$dir/lib64/"
	for p; do
		cp -L "$root/$p" "$dir/sbin/" || return 1
		"$ld" --library-path "$libs" --list "$root/$p" | awk '$3 ~ /^\// { print $3 }' |
			xargs -I{} cp -L {} "$dir/lib/x86_64-linux-gnu/" || return 1
	done
}
pack() { # DIR
	(cd "$1" && find . | "$root/bin/busybox" cpio -o -H newc 2>/dev/null)
}
# The ELF kernel out of the bzImage: its decompressor takes seconds under emulation.
kernel_image() {
	local vz=$kernel/boot/vmlinuz-$version at
	at=$(LC_ALL=C grep -abom1 $'\xfd7zXZ' "$vz" | head -n 1 | cut -d: -f1)
	[ -n "$at" ] && tail -c +$((at + 1)) "$vz" | xz -dc --single-stream >"$img/vmlinux" 2>/dev/null
	[ "$(head -c 4 "$img/vmlinux" 2>/dev/null | tail -c 3)" = ELF ] || cp "$vz" "$img/vmlinux"
}
initrd_dom0() {
	local t=$cache/tree
	rm -rf "$t"
	mkdir -p "$t"/{bin,dev,proc,sys,new}
	cp "$root/bin/busybox" "$t/bin/"
	add_modules "$t" virtio_pci virtio_blk crc32c_generic ext4 || return 1
	cat >"$t/init" <<-'END'
		#!/bin/busybox sh
		/bin/busybox --install -s /bin
		mount -t devtmpfs d /dev; mount -t proc p /proc; mount -t sysfs s /sys
		for m in virtio_pci virtio_blk crc32c_generic ext4; do modprobe $m; done
		mkfifo /tick; exec 3<>/tick; i=0
		while [ ! -b /dev/vda ] && [ $i -lt 600 ]; do read -t 0.1 x <&3; i=$((i + 1)); done
		mount -t ext4 /dev/vda /new && umount /proc /sys && exec switch_root /new /init0
		echo "dom0 has no root disk"; poweroff -f
	END
	chmod +x "$t/init"
	pack "$t" | gzip -1 >"$img/initrd-dom0"
}
initrd_guest() {
	local t=$cache/tree
	rm -rf "$t"
	mkdir -p "$t"/{bin,dev,proc,sys,mnt}
	cp "$root/bin/busybox" "$t/bin/"
	add_modules "$t" xen-blkfront crc32c_generic ext4 || return 1
	add_programs "$t" sbin/mke2fs sbin/e2fsck sbin/blkdiscard sbin/fstrim bin/sync || return 1
	cat >"$t/init" <<-'END'
		#!/bin/busybox sh
		/bin/busybox --install -s /bin
		export PATH=/sbin:/bin LD_LIBRARY_PATH=/lib/x86_64-linux-gnu
		mount -t devtmpfs d /dev; mount -t proc p /proc; mount -t sysfs s /sys
		for m in xen-blkfront crc32c_generic ext4; do modprobe $m; done
		exec sh /guest.sh </dev/hvc0 >/dev/hvc0 2>&1
	END
	chmod +x "$t/init"
	pack "$t" >"$img/initrd-guest" # plain: libxl unpacks gzip, but only one archive
}
root_disk() {
	add_modules "$root" xen-evtchn xen-gntdev xen-gntalloc xen-privcmd xenfs fuse 9pnet_virtio 9p crc32c_generic \
		ext4 || return 1
	mkdir -p "$root"/{proc,sys,dev,tmp,run,share,root,opt/bb,var/log/xen,var/lib/xen}
	rm -rf "$root"/usr/share/{doc,locale,man,info,perl,zoneinfo,bug} "$root"/usr/lib/python3* "$root/var/run" \
		"${root:?}"/boot/*
	ln -s /run "$root/var/run"
	cp "$img/vmlinux" "$root/boot/vmlinux"
	cat >"$root/init0" <<-'END'
		#!/bin/busybox sh
		/bin/busybox mount -t devtmpfs d /dev 2>/dev/null
		exec </dev/console >/dev/console 2>&1
		/bin/busybox --install -s /opt/bb
		for x in /usr/lib/xen-4.*/bin; do :; done
		export PATH=$x:/usr/sbin:/usr/bin:/sbin:/bin:/opt/bb HOME=/root
		mount -t proc p /proc; mount -t sysfs s /sys; mkdir -p /dev/pts /dev/shm; mount -t devpts x /dev/pts
		ln -s /proc/self/fd /dev/fd; mount -t tmpfs t /run; mount -t tmpfs t /tmp
		for m in xen-evtchn xen-gntdev xen-gntalloc xen-privcmd xenfs fuse 9pnet_virtio 9p; do modprobe $m; done
		mount -t xenfs x /proc/xen
		mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144 share /share && bash /share/dom0.sh
		sync; /bin/busybox poweroff -f
	END
	chmod +x "$root/init0"
	truncate -s $(($(du -sm "$root" | cut -f1) + 1500))M "$img/root.img" &&
		mke2fs -q -F -t ext4 -O ^has_journal -E lazy_itable_init=1 -d "$root" "$img/root.img"
}

key=$(sha256sum <"${BASH_SOURCE[0]}")
[ "$(cat "$cache/img/key" 2>/dev/null)" != "$key" ] || exit 0
rm -rf "$img" "$cache/img"
mkdir -p "$img" || give_up "cannot write to $cache"
# shellcheck disable=SC2086
[ "$(cat "$apt/fetched" 2>/dev/null)" = "$(echo $packages)" ] || { rm -f "$apt/fetched" && fetch; }
tell "building the images"
unpack
{ kmod depmod -b "$kernel" "$version" && kernel_image && gzip -dc "$root/boot/xen-$xen-amd64.gz" >"$img/xen" &&
	cp "$root/bin/busybox" "$img/" && initrd_dom0 && initrd_guest && root_disk; } ||
	give_up "the images cannot be built: $(tail -n 3 "$cache/images.log")"
rm -rf "$root" "$kernel" "$cache/tree"
echo "$key" >"$img/key"
mv "$img" "$cache/img"
