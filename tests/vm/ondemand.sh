#!/bin/bash
# Runs inside the guest of kmod-tools/test-kernel/vm.sh, kernel `ondemand`: everything about the cachefiles door.
#   ondemand.sh TESTS-BUILD BUILD
#   ALL=1     the long ones, too
set -uo pipefail
. "$(dirname "$0")/steps.sh"
UNIT=$1/unit E2E=$REPO/tests/e2e
export DEDUPD_DOOR=cachefiles DOORS=cachefiles SLOW=${SLOW:-5} READERS=8

# on FILE_SYSTEM COMMAND...: with $TMPDIR on an empty one.
on() {
  local disk=$TMPDIR/disk.$1 status=0
  truncate -s 1G "$disk" && mkdir "$disk.mnt" && "mkfs.$1" -q "$disk" && mount -o loop "$disk" "$disk.mnt" || return
  TMPDIR=$disk.mnt "${@:2}" || status=$?
  wait_until 10 umount "$disk.mnt" && rm "$disk" && rmdir "$disk.mnt" && return "$status"
}

step "access recorder" "$TESTS/kernel_access_test" --gtest_brief=1 --gtest_filter="*OldKernels*"
step "cachefiles door" "$TESTS/kernel_cachefiles_door_test" --gtest_brief=1
step "conformance" "$TESTS/kernel_door_conformance_test" --gtest_brief=1 --gtest_filter='*cachefiles*'
for file_system in xfs btrfs; do
  step "conformance, $file_system" on $file_system "$TESTS/kernel_door_conformance_test" --gtest_brief=1 --gtest_filter='*cachefiles*'
  step "whole blocks, $file_system" on $file_system "$UNIT/pool/pool_whole_blocks_test" --gtest_brief=1
done
step "kill storm" "$TESTS/kill_storm" --door cachefiles "${KILLS:-20}"
step "fails closed" "$E2E/fail-closed.sh"
step "worker kills" env KILLS="${KILLS:-20}" FILE_BYTES=$((4 << 20)) "$E2E/worker-kills.sh"
step "clock jumps" env CLOCK=1 STORMS=clock FILE_BYTES=$((1 << 20)) "$E2E/fault-storms.sh"
if [ -n "${ALL:-}" ]; then
  step "door suite" env KILLS=5 "$REPO/tests/conformance/doors/run.sh"
  step "fault storms" env KILLS=20 STORMS="stops source disk descriptors memory" FILE_BYTES=$((1 << 20)) "$E2E/fault-storms.sh"
  step "keeper kills" env KILLS=8 FILE_BYTES=$((2 << 20)) "$E2E/keeper-kills.sh"
  step "power cut" env ROUNDS=2 "$E2E/power-cut.sh"
  step "containerd" "$E2E/lazy.sh"
else
  step "door suite" env KILLS=2 IMAGES=20 FILE_SYSTEMS=ext4 "$REPO/tests/conformance/doors/run.sh"
fi
steps_end
