#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# 100 switchovers, there and back, a guest's load before and after each; all images of both nodes compared each time, twice,
# with what the guest was told (keeper.c), and once more in the files behind an orderly end.
set -u -o pipefail
cd "$(dirname "$0")/../functional" || exit 1
: "${SWAPS:=100}" "${WRITES:=2000}"
export SWAPS WRITES
began=$SECONDS
times=$(bash ./test-switchover.sh | tee >(cat >&2) | sed -n 's/^# swap .* ms=//p' | sort -n) || exit 1
mapfile -t times <<<"$times"
[ ${#times[@]} = "$SWAPS" ] || { echo "FAIL: ${#times[@]} swaps of $SWAPS" && exit 1; }
echo "# $SWAPS switchovers, $((WRITES * 2)) writes of 512 B to 16 KiB around each: $((SECONDS - began)) s;" \
	"a swap took ${times[SWAPS / 2]} ms in the median, ${times[SWAPS - 1]} at most"
