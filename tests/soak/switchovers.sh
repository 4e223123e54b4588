#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# 100 switchovers, there and back, a guest's load before and after each, both copies compared with a third each time.
set -u
cd "$(dirname "$0")/../functional" || exit 1
: "${SWAPS:=100}" "${WRITES:=2000}"
export SWAPS WRITES
began=$SECONDS
bash ./test-switchover.sh || exit 1
echo "# $SWAPS switchovers, $((WRITES * 2)) writes of 4 KiB around each: $((SECONDS - began)) s"
