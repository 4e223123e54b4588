#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# make install puts the programs, the helpers and the manual pages where mount(8) and man look, and only there.
# not-sanitized: it runs no daemon
. "$(dirname "$0")/../lib.sh" || exit 1

make --no-print-directory -C "$TESTS/.." BUILD="$BUILD" DESTDIR="$T/root" PREFIX=/usr install >/dev/null
for f in usr/sbin/colofs usr/sbin/colofsctl sbin/mount.fuse.colofs sbin/umount.fuse.colofs; do
	[ -x "$T/root/$f" ] || fail "no $f"
done
for page in colofs colofsctl; do
	[ -s "$T/root/usr/share/man/man8/$page.8" ] || fail "no $page.8"
done
[ -s "$T/root/usr/share/man/man7/colofs-protocol.7" ] || fail "no colofs-protocol.7"
