#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# 1000 half-open connections: the p99 of 1000 flushes under attack is below twice that in quiet. Otherwise the same as
# functional/test-peer-half-open.sh.
FLUSHES=${FLUSHES:-1000} P99_LIMIT=${P99_LIMIT:-2} exec bash "$(dirname "$0")/../functional/test-peer-half-open.sh"
