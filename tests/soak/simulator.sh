#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# 10 000 seeds of 10 000 steps each and more, without a violation, with everything in them that sim/happen.h lists, and
# enough commits and crashes to mean something. SEED=N begins elsewhere, SEEDS=N does fewer (and asks for no number).
set -u
: "${BUILD:=$PWD/build}" "${SEED:=1}" "${SEEDS:=10000}"
out=$(mktemp) || exit 1
trap 'rm -f "$out"' EXIT
"$BUILD/sim" --seed "$SEED" --seeds "$SEEDS" --steps 10000 >"$out"
rc=$?
cat "$out"
[ "$rc" = 0 ] || exit "$rc"
[ "$SEEDS" -ge 10000 ] || exit 0
read -r commits crashes < <(sed -nE 's/.* ([0-9]+) commits, ([0-9]+) crashes .*/\1 \2/p' "$out")
if [ "$commits" -lt 30000 ] || [ "$crashes" -lt 70000 ]; then
	echo "$commits commits and $crashes crashes are too few: 30000 and 70000"
	exit 1
fi
