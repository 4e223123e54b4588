#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# The daemon is ended, by umount and by SIGTERM, with writes in flight on the primary and on the backup's overlay: it comes
# to an orderly end, and each write that was acknowledged is in the file.
. "$(dirname "$0")/../lib.sh" || exit 1
require_root
require fio

put_pattern "$AS/disk.img" 00 0 64
# A guest that writes blocks of their own number, in order, until it is refused; how many were acknowledged: the log's lines.
guest() { # FILE LOG
	local i
	exec {out}<>"$1"
	for ((i = 0; i < 16384; i++)); do
		printf '%04096d' $i >&"$out" || break
		echo $i >&3
	done 3>"$2" 2>/dev/null
}
for how in TERM umount; do
	pair_up
	guest "$A/disk.img" "$T/acked" {TICK}>&- &
	writer=$!
	fio --name=twin --filename="$B/disk.img" --rw=randwrite --bs=16k --size=64M --io_size=4G --ioengine=libaio --iodepth=32 \
		--direct=1 --eta=never >"$T/twin.log" 2>&1 {TICK}>&- &
	twin=$!
	wait_status "$A" '.uncommitted.writes > 200'
	wait_status "$B" '.overlay.bytes > 1000000'
	if [ $how = TERM ]; then
		kill -TERM "$(daemon_of "$A")" "$(daemon_of "$B")"
	else
		umount -l "$A"
		umount -l "$B"
		kill -9 "$writer" "$twin"
	fi
	wait_for 60 no_daemons || fail "$how: still there: $(own_daemons)"
	wait "$writer" "$twin" 2>/dev/null || :
	acked=$(wc -l <"$T/acked")
	[ "$acked" -gt 100 ] || fail "$how: only $acked writes"
	cmp -n $((acked * 4096)) "$AS/disk.img" <(for ((i = 0; i < acked; i++)); do printf '%04096d' $i; done) >&2 ||
		fail "$how: an acknowledged write is not in the file"
	say "$how: $acked writes acknowledged and there"
	umount -l "$A" "$B" 2>/dev/null || :
done
