#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# `make coverage`: branches of the core (repl/ without its shell) that the unit tests, the simulator, the fuzz corpora and,
# as root, a few functional tests take at least once; by file, then the lines whose branches were not all taken. Fails
# below COVERAGE_BAR percent. Objects and figures are in build/coverage; every branch of every file counts.
set -u
cd "$(dirname "$0")/.." || exit 1
: "${BUILD:=$PWD/build}" "${COVERAGE_BAR:=90}" "${COVERAGE_SIM_SECONDS:=90}"
b=$BUILD/coverage
functional="pair-commit-visible failover-after-crash prepare-commit umount-drains verify events journal-disk-full"

# -O0: each branch as it is written; without what needs optimisation.
mkdir -p "$BUILD"
make --no-print-directory -j2 BUILD="$b" COVERAGE=1 CFLAGS="-O0 -g --coverage" HARDEN=-fPIE covered >"$BUILD/coverage.log" 2>&1 || {
	tail -n 30 "$BUILD/coverage.log"
	exit 1
}
find "$b" -name '*.gcda' -delete
failed=0
step() { # NAME COMMAND...
	local name=$1
	shift
	if "$@" >"$b/run.log" 2>&1; then
		echo "ok    $name"
	else
		failed=1
		echo "FAIL  $name"
		tail -n 20 "$b/run.log"
	fi
}
for t in "$b"/unit/*; do
	step "unit ${t##*/}" "$t" 1
done
for t in "$b"/fuzz/*; do
	step "corpus ${t##*/}" "$t" "tests/fuzz/corpus/${t##*/}"
done
# What is rare may not happen in a run this short, on objects this slow: `make check` demands that. A violation fails.
simulate() {
	local code
	"$b/sim" --time "$COVERAGE_SIM_SECONDS" --seed 1 >"$b/sim.log" 2>&1
	code=$?
	cat "$b/sim.log"
	[ "$code" = 0 ] || { [ "$code" = 1 ] && grep -q '^NEVER HAPPENED' "$b/sim.log" && ! grep -q '^VIOLATION' "$b/sim.log"; }
}
step simulator simulate
if [ "$(id -u)" = 0 ]; then
	for t in $functional; do
		[ -e "tests/functional/test-$t.sh" ] || continue
		step "$t" env BUILD="$b" bash "tests/functional/test-$t.sh"
	done
fi
[ "$failed" = 0 ] || exit 1

# One JSON object a file; a source's lines come once for each function that is inlined nowhere at -O0. A unit test that has
# a source of the core inside ran the same branches: a branch that either took is taken.
figures=$b/figures
branches() { # OBJECT SOURCE...: line, times run, which branches were taken
	local o=$1
	shift
	gcov-"$(gcc -dumpversion)" --json-format --stdout -b "$o" 2>/dev/null |
		jq -r '.files[] | select(.file | test("(^|/)repl/[a-z_]+[.]c$")) | (.file | sub(".*repl/"; "repl/")) as $f |
			select($ARGS.positional | index($f)) | .lines[] |
			[$f, .line_number, .count, ([.branches[] | if .count > 0 then "1" else "0" end] | join(""))] | @tsv' --args "$@"
}
core=()
for o in "$b"/repl/*.gcno; do
	name=$(basename "$o" .gcno)
	case $name in net* | tls* | store* | ring* | shell*) continue ;; esac
	core+=("repl/$name.c")
done
{
	for name in "${core[@]}"; do
		branches "$b/${name%.c}.gcno" "$name"
	done
	for o in $(grep -l '^#include "[./]*repl/[a-z_]*\.c"' tests/unit/*.c); do
		branches "$b/${o%.c}.gcno" "${core[@]}"
	done
} | awk -F'\t' '
	!(($1, $2) in taken) { order[++n] = $1 FS $2; taken[$1, $2] = $4 }
	{
		run[$1 FS $2] += $3
		for (i = 1; i <= length($4) && length($4) == length(taken[$1, $2]); i++)
			if (substr($4, i, 1) == 1)
				taken[$1, $2] = substr(taken[$1, $2], 1, i - 1) 1 substr(taken[$1, $2], i + 1)
	}
	END {
		for (k = 1; k <= n; k++) {
			split(order[k], at, FS)
			bits = taken[at[1], at[2]]
			printf "%s\t%d\t%d\t%d\n", order[k], run[order[k]], length(bits), gsub(1, 1, bits)
		}
	}' >"$figures"
awk -F'\t' -v bar="$COVERAGE_BAR" '
	!($1 in lines) { names[++n] = $1 }
	{ lines[$1]++; hit[$1] += $3 > 0; all[$1] += $4; took[$1] += $5 }
	$4 > $5 { left[$1] = left[$1] " " $2 ($3 ? "" : "-") }
	END {
		printf "%-28s %14s %18s\n", "file", "lines", "branches"
		for (i = 1; i <= n; i++) {
			f = names[i]
			printf "%-28s %5d/%-5d %3d %% %5d/%-5d %5.1f %%\n", f, hit[f], lines[f], 100 * hit[f] / lines[f],
				took[f], all[f], all[f] ? 100 * took[f] / all[f] : 100
			L += lines[f]; H += hit[f]; A += all[f]; T += took[f]
		}
		print "\nnot every branch taken (-: line never run):"
		for (i = 1; i <= n; i++)
			if (left[names[i]])
				print names[i] ":" left[names[i]]
		printf "\nthe core: %d of %d lines (%.1f %%), %d of %d branches (%.1f %%), bar %d %%\n", H, L, 100 * H / L, T, A,
			100 * T / A, bar
		exit !(A && 100 * T / A >= bar)
	}' "$figures"
