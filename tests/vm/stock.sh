#!/bin/bash
# Runs inside the guest of kmod-tools/test-kernel/vm.sh, a kernel as Debian ships it: the doors that it has.
#   stock.sh TESTS-BUILD BUILD
set -uo pipefail
. "$(dirname "$0")/steps.sh"
export DEDUPD_DOOR=fuse
step "access recorder" "$TESTS/kernel_access_test" --gtest_brief=1
step "conformance" "$TESTS/kernel_door_conformance_test" --gtest_brief=1
step "fuse door" "$TESTS/kernel_fuse_door_test" --gtest_brief=1
# Emulated, and on a busy machine: a loop of 3 s took 60 s to 100 s there, and a worker more than 10 s to start.
step "kill storm, fuse" "$TESTS/kill_storm" --door fuse --patience 90 "${KILLS:-30}"
step "fails closed, fuse" "$REPO/tests/e2e/fail-closed.sh"
steps_end
