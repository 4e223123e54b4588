#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# on-peer-loss=failover: the primary is killed, the fence command is run, with exactly the documented arguments and
# environment; after any exit but 0 nothing happens and it is run again; after 0 the backup is promoted by itself. What
# waits 60 s, or needs a link that comes back at the right moment, is unit-test_fence's.
. "$(dirname "$0")/../lib.sh" || exit 1
require_root

random_file "$AS/disk.img" 1000000
cat >"$T/fence" <<END
#!/bin/bash
{
	printf '%s\n' "\$0" "\$@"
	echo "cwd=\$PWD fds=\$(ls /proc/self/fd | wc -l) umask=\$(umask) in=\$(readlink /proc/self/fd/0)"
	grep -E '^Sig(Blk|Ign)' /proc/self/status
	tr '\0' '\n' </proc/\$\$/environ | sort
} >"$T/said.\$\$"
mv "$T/said.\$\$" "$T/said"
echo run >>"$T/runs"
exit "\$(cat "$T/exit")"
END
chmod +x "$T/fence"
ARMED="link-timeout=300ms,on-peer-loss=failover,fence=$T/fence"
runs() {
	[ "$(wc -l <"$T/runs")" -ge "$1" ]
}
: >"$T/runs"

say "refused without a fence, or with one that cannot be run"
must_fail start_backup on-peer-loss=failover
assert_match "$OUT" '*needs fence=*'
must_fail start_backup "on-peer-loss=failover,fence=$T/none"
assert_match "$OUT" '*cannot be run*No such file*'
touch "$T/plain"
must_fail start_backup "on-peer-loss=failover,fence=$T/plain"
assert_match "$OUT" '*cannot be run*Permission denied*'
start_backup
ctl_fails "$B" "set on-peer-loss failover" EINVAL
assert_eq "$(status "$B" .fence)" null
stop "$B"

say "the primary leaves in order: nothing"
# in the foreground, with a stdin, a directory and a umask that are not the command's
(cd "$T" && umask 027 && exec colofs -f "$BS" "$B" -o "role=backup,listen=127.0.0.1:$PEER_PORT,tls=$T/certs/b,peer-name=a,$ARMED") \
	<"$T/plain" >"$T/b.log" 2>&1 {TICK}>&- &
wait_for 10 test -e "$B/.colo/status" || fail "no backup: $(cat "$T/b.log")"
start_primary link-timeout=300ms
wait_protected
assert_eq "$(status "$B" .fence.state)" armed
stop "$A"
wait_status "$B" '.link.state != "up" and .link.since_ms > 1500'
assert_eq "$(status "$B" '.fence.state + ": " + .fence.why')" "held: the primary left in order"
grep -q 'fence    held' "$B/.colo/status" || fail "$(cat "$B/.colo/status")"

say "it dies: not fenced, not promoted, tried again"
start_primary
wait_protected
flush "$A"
cp "$A/disk.img" "$T/committed"
echo 3 >"$T/exit"
cat "$B/.colo/events" >"$T/events" &
reader=$!
# the reader is there when it hears something
flushed() {
	flush "$A" && [ -s "$T/events" ]
}
wait_for 20 flushed
epoch=$(status "$B" .epoch.committed)
want="$T/fence fence pair=$(status "$B" .pair) node=$(status "$B" .node) epoch=$epoch generation=$(status "$B" .generation)"
kill9 "$A"
wait_for 30 runs 3 || fail "run $(wc -l <"$T/runs") times"
wait_status "$B" '.fence.runs >= 3 and .fence.last == "exit 3"'
assert_eq "$(status "$B" .role)" backup
assert_match "$(status "$B" .reason)" "*not fenced: exit 3*"
assert_eq "$(head -n 6 "$T/said" | tr '\n' ' ')" "$want " "the command's arguments"
assert_eq "$(sed -n 7p "$T/said")" "cwd=/ fds=4 umask=0022 in=/dev/null" "what it inherits" # one of them ls' own
# posix_spawn(3), which make uses, ignores signals 32 and 33 in its children, and nobody can undo that.
assert_eq "$(sed -n 8,9p "$T/said" | tr -s '\t\n' ' ' | sed s/0000000180000000/0000000000000000/)" "SigBlk: 0000000000000000 SigIgn: 0000000000000000 " "signals"
assert_match "$(sed -n '10,$p' "$T/said" | tr '\n' ' ')" \
	"COLOFS_SOURCE=$BS LC_ALL=C PATH=/usr/local/sbin:*" "environment"

say "fenced: promoted"
echo 0 >"$T/exit"
wait_status "$B" '.role == "primary"' 60
assert_match "$(status "$B" .reason)" "promoted by itself*"
assert_same "$B/disk.img" "$T/committed"
dd if=/dev/urandom of="$B/disk.img" bs=4k count=3 conv=notrunc,fsync status=none
start_primary # it joins its promoted peer by itself
assert_eq "$(status "$A" .role)" backup "the old primary's role"
wait_status "$B" .protected 60
assert_same "$A/disk.img" "$B/disk.img"
told() {
	jq -es "any($1)" "$T/events" >/dev/null 2>&1
}
wait_for 10 told '.event == "failover"' || fail "no event of the failover: $(tail -n 3 "$T/events")"
told '.event == "fence" and .state == "not-fenced" and .exit == 3' || fail "no event of the failed run"
told '.event == "fence" and .state == "fenced"' || fail "no event of the good run"
[ "$(metric "$B" fence_runs_total)" -ge 4 ] || fail "metrics"
[ "$(metric "$B" fence_failures_total)" -ge 3 ] || fail "metrics"

say "a command that hangs ends with the daemon, and what it has started too"
kill "$reader"
wait "$reader" || :
stop "$B"
BS=$T/c.src B=$T/c
mkdir "$BS" "$B"
AS=$T/d.src A=$T/d
mkdir "$AS" "$A"
truncate -s 1M "$AS/disk.img"
cat >"$T/hangs" <<END
#!/bin/bash
tail -f "$T/said" &
echo "\$\$ \$!" >"$T/pids.new"
mv "$T/pids.new" "$T/pids"
wait
END
chmod +x "$T/hangs"
pair_up "" "link-timeout=300ms,on-peer-loss=failover,fence=$T/hangs"
flush "$A"
kill9 "$A"
wait_for 20 test -e "$T/pids" || fail "it is not run"
read -r one two <"$T/pids"
wait_status "$B" '.fence.state == "running"'
assert_eq "$(status "$B" .role)" backup
ctl "$B" help || fail "a command waits for the fence"
stop "$B"
dead() {
	[ ! -e "/proc/$one" ] && [ ! -e "/proc/$two" ]
}
wait_for 10 dead || fail "it goes on without the daemon"
