#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# 1000 connections that never come to an end - silent, with a ClientHello alone, with one byte at a time - cost the node
# 16 half-open peers and no more; the live pair goes on, each flush succeeds, and who they keep out gets in afterwards.
# FLUSHES=N more of them; P99_LIMIT=N their p99 under attack must be below N times that in quiet (a benchmark: make soak).
. "$(dirname "$0")/../lib.sh" || exit 1
require_root
require perl ss

: "${FLUSHES:=60}" "${P99_LIMIT:=}" "${RATE:=100}"
random_file "$AS/disk.img" 4000000
pair_up
flush "$A"
pid=$(daemon_of "$B")
descriptors() {
	ls "/proc/$pid/fd" | wc -l
}
accepted() { # sockets of the daemon on its port, the listener not counted
	ss -Htnp state connected "sport = :$PEER_PORT" | grep -c "pid=$pid," || :
}
at_most() { # COUNT
	[ "$(accepted)" -le "$1" ]
}
cpu_ms() { # of the daemon, in all
	awk -v hz="$(getconf CLK_TCK)" '{ sub(/.*\) /, ""); print int(($12 + $13) * 1000 / hz) }' "/proc/$pid/stat"
}
# Each writes 4 KiB first. Prints p50, p99 and the longest, in microseconds; fails if one fails.
flushes() { # NAME
	perl -MTime::HiRes=time -e 'my ($mnt, $n) = @ARGV; my @t;
		for my $i (1 .. $n) {
			open my $f, "+<", "$mnt/disk.img" or die "open: $!";
			sysseek $f, $i * 8192 % 3900000, 0; defined syswrite($f, "x" x 4096) or die "write: $!"; close $f;
			my $t0 = time; open my $c, ">", "$mnt/.colo/ctl" or die "ctl: $!";
			defined syswrite($c, "flush\n") or die "flush $i: $!\n"; push @t, (time - $t0) * 1e6;
		}
		@t = sort { $a <=> $b } @t; printf "%d %d %d\n", $t[$n / 2], $t[$n * 0.99 - 1], $t[-1]' "$A" "$FLUSHES" ||
		fail "a flush failed: $1"
}
read -r q50 q99 qmax <<<"$(flushes quiet)"
say "quiet: p50 $q50 us, p99 $q99 us, longest $qmax us"
before=$(descriptors)

# Another host's processor, so to say: the attacker has what nobody else wants of this one.
coproc FLOOD { exec {TICK}>&-; nice -n 19 peer flood "127.0.0.1:$PEER_PORT" 1000 all "$RATE" 2>&1; }
flood=$FLOOD_PID
in=${FLOOD[1]} out=${FLOOD[0]}
most=0 most_fds=0
for i in {1..40}; do # while they come
	n=$(accepted)
	most=$((n > most ? n : most))
	n=$(descriptors)
	most_fds=$((n > most_fds ? n : most_fds))
done
read -rt 30 line <&"$out"
assert_eq "$line" open "the attack"
cpu=$(cpu_ms) turned=$(metric "$B" link_refusals_total)
read -r a50 a99 amax <<<"$(flushes 'under attack')"
say "attack: p50 $a50 us, p99 $a99 us, longest $amax us; at most $most sockets, $most_fds descriptors (quiet: $before)"
say "meanwhile $(($(metric "$B" link_refusals_total) - turned)) were turned down, the daemon ran for $(($(cpu_ms) - cpu)) ms"
n=$(descriptors)
most_fds=$((n > most_fds ? n : most_fds))
assert_less "$most_fds" $((before + 33)) "descriptors" # 16, and those that are being closed
[ "$most" -gt 1 ] || fail "nobody was let in as far as the handshake: the test attacks nothing"
wait_for 20 at_most 17 || fail "half-open peers: $(accepted)"
assert_eq "$(metric "$A" link_losses_total)" 0 "links lost by the true pair"
assert_eq "$(status "$A" .protected)" true protected
[ "$(metric "$B" link_refusals_total)" -gt 900 ] || fail "$(metric "$B" link_refusals_total) were turned down"

# Silent ones go by themselves; the true primary can come back, during the attack too.
stop "$A"
start_primary
wait_protected 60
say "joined while under attack"
exec {in}>&-
wait "$flood" || :
wait_for 20 at_most 1 || fail "$(accepted) connections stay"
flush "$A"
assert_same "$A/disk.img" "$B/disk.img"
if [ -n "$P99_LIMIT" ]; then # quiet again: what else the machine does is in both
	read -r _ again _ <<<"$(flushes 'quiet again')"
	say "quiet again: p99 $again us"
	q99=$((again > q99 ? again : q99))
	assert_less "$a99" $((q99 * P99_LIMIT)) "p99 of a flush under attack, us (quiet: $q99)"
fi
