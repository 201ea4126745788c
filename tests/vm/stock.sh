#!/bin/bash
# Runs inside the guest of kmod-tools/test-kernel/vm.sh, a kernel as Debian ships it: the doors that it has.
#   stock.sh TESTS-BUILD BUILD     folders of the test programs and of dedupd
set -uo pipefail
REPO=$(cd "$(dirname "$0")/../.." && pwd)
TESTS=$1/kernel BUILD=$2
. "$REPO/tests/vm/steps.sh"
export BUILD DEDUPD_DOOR=fuse
step "conformance" "$TESTS/kernel_door_conformance_test" --gtest_brief=1
step "fuse door" "$TESTS/kernel_fuse_door_test" --gtest_brief=1
step "kill storm, fuse" "$TESTS/kill_storm" --door fuse "${KILLS:-30}"
step "fails closed, fuse" "$REPO/tests/e2e/fail-closed.sh"
steps_end
