#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Each fuzz target for FUZZ_SECONDS (60), from the committed corpus on. An input that crashes one is left in
# build/fuzz/crash-TARGET-*, and the soak fails.
set -u
cd "$(dirname "$0")/../.." || exit 1
: "${BUILD:=$PWD/build}"
export BUILD
make --no-print-directory WERROR=1 BUILD="$BUILD" fuzz || exit 1
exec tests/fuzz/run fuzz "${FUZZ_SECONDS:-60}"
