#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# The daemon's memory holds private keys and guests' data: it never dumps core, whatever limit it was started with
# or given later, and a process of the same user without CAP_SYS_PTRACE cannot look into it.
# daemon-may-fail: it is made to abort
# not-sanitized: it aborts a daemon, which a sanitizer takes for a finding
. "$(dirname "$0")/../lib.sh" || exit 1
require_root
require perl prlimit setpriv

case $(cat /proc/sys/kernel/core_pattern) in
[!\|/]*) ;;
*) skip "core dumps do not go to the working directory here" ;;
esac
mkdir "$T/cores"
cd "$T/cores"
ulimit -c unlimited
# Whether the kernel dumped core of a command that dies of SIGABRT: its own word, in the wait status.
dumped() { # PID-FILE COMMAND...
	perl -e 'my $f = shift; my $p = fork // die; if (!$p) { exec @ARGV or die } open F, ">", $f or die; print F $p; close F;
		waitpid $p, 0; ($? & 127) == 6 or die "status $?\n"; exit(($? & 128) ? 0 : 1)' "$@"
}
aborts() { # PID-FILE
	wait_for 10 test -s "$1"
	kill -ABRT "$(cat "$1")"
}

tame=(setpriv --bounding-set -sys_ptrace --inh-caps -sys_ptrace)
looks_into() { # PID
	"${tame[@]}" bash -c ': <"$0"' "/proc/$1/mem" 2>/dev/null
}

# What shows that a dump would be seen: any other process.
dumped "$T/other.pid" "${tame[@]}" tail -f /dev/null &
wait_for 10 test -s "$T/other.pid"
wait_for 10 looks_into "$(cat "$T/other.pid")" || fail "even tail's memory is closed here: the test cannot tell"
aborts "$T/other.pid"
wait $! || fail "even tail does not dump core here: the test cannot tell"
rm -f "$T/cores"/*

mkcerts
free_port
for raised in no yes; do
	dumped "$T/$raised.pid" "${tame[@]}" colofs -f "$BS" "$B" -o "role=backup,listen=127.0.0.1:$PORT,tls=$T/certs/b,peer-name=a" \
		2>"$T/b.log" {TICK}>&- &
	waiter=$!
	wait_for 10 test -e "$B/.colo/status" || fail "no backup: $(cat "$T/b.log")"
	pid=$(cat "$T/$raised.pid")
	assert_match "$(grep 'Max core' "/proc/$pid/limits")" '*core file size*0 *0 *bytes*' "its limit"
	if looks_into "$pid"; then
		fail "a process of the same user can open its memory"
	fi
	[ $raised = no ] || prlimit --pid "$pid" --core=unlimited 2>/dev/null || say "the limit cannot be raised here (CAP_SYS_RESOURCE)"
	aborts "$T/$raised.pid"
	if wait $waiter; then
		fail "core dumped (limit raised later: $raised)"
	fi
	umount -l "$B"
	assert_eq "$(ls "$T/cores")" "" "core files"
done
