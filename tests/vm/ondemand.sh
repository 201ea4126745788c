#!/bin/bash
# Runs inside the guest of kmod-tools/test-kernel/vm.sh, kernel `ondemand`: everything about the cachefiles door.
#   ondemand.sh TESTS-BUILD BUILD     folders of the test programs and of dedupd
set -uo pipefail
REPO=$(cd "$(dirname "$0")/../.." && pwd)
TESTS=$1/kernel BUILD=$2
. "$REPO/tests/vm/steps.sh"
export BUILD DEDUPD_DOOR=cachefiles
step "cachefiles door" "$TESTS/kernel_cachefiles_door_test" --gtest_brief=1
step "conformance" "$TESTS/kernel_door_conformance_test" --gtest_brief=1 --gtest_filter='*cachefiles*'
step "kill storm" "$TESTS/kill_storm" --door cachefiles "${KILLS:-20}"
step "fails closed" "$REPO/tests/e2e/fail-closed.sh"
step "worker kills" env KILLS="${KILLS:-20}" READERS=8 SLOW=5 "$REPO/tests/e2e/worker-kills.sh"
steps_end
