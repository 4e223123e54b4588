#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# status.json is valid and has every key of the contract, on both roles; status is for people; metrics parse.
. "$(dirname "$0")/../lib.sh" || exit 1
require_root

random_file "$AS/disk \"quoted\" \\.img" 1000000
pair_up
flush "$A" named
for m in "$A" "$B"; do
	jq -e . <"$m/.colo/status.json" >/dev/null || fail "not JSON: $(cat "$m/.colo/status.json")"
	missing=$(jq -r '. as $s | [
		"version", "source", "mode", "protected", "role", "generation", "reason", "pair", "node",
		"link.state", "link.peer", "link.tls", "link.rtt_us", "link.since_ms",
		"epoch.current", "epoch.committed", "epoch.prepared", "epoch.name", "epoch.committed_age_ms",
		"peer", "uncommitted.bytes", "uncommitted.writes", "pending.bytes", "pending.writes",
		"send_buffer.used", "send_buffer.limit", "send_buffer.drain_ms",
		"journal.used", "journal.limit", "journal.sealed", "overlay.bytes", "overlay.limit",
		"memory.resident", "images", "last_error",
		"images.0.name", "images.0.size", "images.0.state", "images.0.open", "images.0.dirty_bytes", "images.0.sync"
		] | map(split(".") | map(if test("^[0-9]+$") then tonumber else . end)) |
		map(select(. as $p | ($p[:-1] as $up | $p[-1] as $k | $s | getpath($up) | has($k)) | not)) |
		map(join(".")) | join(" ")' <"$m/.colo/status.json")
	assert_eq "$missing" "" "keys missing from status.json"
	assert_eq "$(status "$m" '.images[0].name')" 'disk "quoted" \.img' "an escaped name"
	assert_eq "$(status "$m" '.images[0].size')" 1000000 "size"
	assert_eq "$(status "$m" '.images[0].state')" consistent "state"
	assert_match "$(status "$m" .generation)" '[0-9a-f]*' "generation"
	[ "$(status "$m" .memory.resident)" -gt 100000 ] || fail "resident memory"
	[ "$(wc -l <"$m/.colo/status")" -ge 3 ] || fail "status is too short"
	bad=$(grep -vE '^(# (HELP|TYPE) colofs_[a-z_]+ .+|colofs_[a-z_]+(\{[^}]*\})? -?[0-9.e+]+)$' "$m/.colo/metrics" || :)
	assert_eq "$bad" "" "odd lines of metrics"
	dups=$(grep -v '^#' "$m/.colo/metrics" | sed 's/ [^ ]*$//' | sort | uniq -d)
	assert_eq "$dups" "" "metrics given twice"
done
assert_eq "$(status "$B" .epoch.name)" named "name of the epoch"
assert_eq "$(status "$A" .epoch.committed)" "$(status "$B" .epoch.committed)" "committed epochs"
[ "$(metric "$A" commits_total)" -ge 1 ] || fail "no commit is counted"
must_fail bash -c "echo x > '$A/.colo/status'"
