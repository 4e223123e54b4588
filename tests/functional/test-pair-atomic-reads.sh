#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# A reader on the backup, over two images, sees one epoch in every read and never goes back, through many
# commits with destage running. COMMITS: how many.
. "$(dirname "$0")/../lib.sh" || exit 1
require_root

: "${COMMITS:=300}"
truncate -s 1M "$AS/one.img" "$AS/two.img"
pair_up
epoch_reader read 999999999 "$B/one.img" "$B/two.img" >"$T/reader.out" 2>&1 {TICK}>&- &
reader=$!
epoch_reader write "$A/.colo/ctl" 1 "$COMMITS" "$A/one.img" "$A/two.img" >"$T/writer.out" ||
	fail "the writer: $(cat "$T/writer.out")"
cat "$T/writer.out"
assert_match "$(cat "$T/writer.out")" "acked=$COMMITS *" "the writer"
kill "$reader" 2>/dev/null || fail "the reader: $(cat "$T/reader.out")"
wait "$reader" || fail "the reader: $(cat "$T/reader.out")"
cat "$T/reader.out"
[ "$(sed -n 's/.*commits_seen=\([0-9]*\).*/\1/p' "$T/reader.out")" -gt $((COMMITS / 50)) ] ||
	fail "the reader saw hardly any commit"
assert_eq "$(epoch_reader check "$B/one.img" "$B/two.img")" "$COMMITS" "the last epoch"
wait_for 20 test "$(metric "$B" destage_passes_total)" -gt 0 || fail "nothing was destaged"
