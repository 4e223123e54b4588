#!/bin/sh
# A named checkpoint of all disks of vm1, with the guest's file systems quiet if it has an agent.
# The write is the verdict: 0, or an errno in words (ENOTCONN no peer, ETIMEDOUT unknown ...).
set -e
mnt=${1:-/srv/vm1}
name=${2:-$(date -u +%Y%m%dT%H%M%SZ)}
if ! echo "flush $name" >"$mnt/.colo/ctl"; then
	cat "$mnt/.colo/ctl" >&2 # the reason
	exit 1
fi
cat "$mnt/.colo/ctl"
