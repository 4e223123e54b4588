#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# A command that waits in one shell keeps no other shell's command, nor a status read, from being served.
. "$(dirname "$0")/../lib.sh" || exit 1
require_root

truncate -s 1M "$AS/disk.img"
pair_up link-timeout=20s,flush-timeout=5s
pid=$(daemon_of "$B")
kill -STOP "$pid"
(echo flush >"$A/.colo/ctl") 2>"$T/flush.err" {TICK}>&- &
waiting=$!
wait_for 5 kill -0 "$waiting"
t0=$(now_ms)
ctl "$A" help || fail "$REPLY_LINE"
ctl_fails "$A" bogus EINVAL
cat "$A/.colo/status" "$A/.colo/status.json" "$A/.colo/metrics" >/dev/null
dd if="$A/disk.img" of=/dev/null bs=64k status=none
assert_less $(($(now_ms) - t0)) 3000 "milliseconds while a flush waits"
kill -0 "$waiting" || fail "the flush did not wait"
kill -CONT "$pid"
wait "$waiting" || fail "the flush failed: $(cat "$T/flush.err")"

# interrupted: EINTR, and the file serves on
kill -STOP "$pid"
(echo flush >"$A/.colo/ctl") 2>"$T/flush.err" {TICK}>&- &
waiting=$!
tick 0.5
kill -INT "$waiting" 2>/dev/null || :
kill "$waiting" 2>/dev/null || :
t0=$(now_ms)
wait "$waiting" 2>/dev/null || :
assert_less $(($(now_ms) - t0)) 3000 "milliseconds until an interrupted flush is over"
kill -CONT "$pid"
wait_for 10 ctl "$A" flush || fail "$REPLY_LINE"
