#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Functional tests whose number of rounds make check keeps small, with as many as it takes: some quarter of an hour.
set -u
cd "$(dirname "$0")/../functional" || exit 1
rc=0
round() { # NAME: with what is set before it
	local began=$SECONDS
	if bash "./test-$1.sh"; then
		echo "# $1: good, $((SECONDS - began)) s"
	else
		echo "# $1: FAILED"
		rc=1
	fi
}
ROUNDS=100 round crash-backup-mid-flush
COMMITS=10000 round pair-atomic-reads
ROUNDS=20 round image-mixed-writes
ROUNDS=60 round pair-overlapping-writes
MEGABYTES=1024 round fio-verify
MEGABYTES=2048 round memory-bounded
exit $rc
