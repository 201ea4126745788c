#!/bin/bash
# Verifying readers of a lazy mount while one thing after the other goes wrong around them: no wrong byte in any storm, none
# stuck, and no failed read where the cause is not the data's own absence. Every storm has an image of its own.
#   fault-storms.sh [BUILD]     BUILD: build folder (default: build/release)
#   STORMS="..."  which (default: all); READERS (32); KILLS (200) of the worker; DEDUPD_DOOR: the door (auto)
#   CLOCK=1       the storm of clock jumps too: it sets this machine's clock
#   FILE_BYTES    of each of the 32 files of an image (4 MiB); SLOW: how many times slower this machine is than a real one (1)
set -euo pipefail
REPO=$(cd "$(dirname "$0")/../.." && pwd)
BUILD=$(realpath "${1:-${BUILD:-$REPO/build/release}}")
for piece in say check lab containerd registry dedupd; do . "$REPO/scripts/lib/$piece.sh"; done
export PYTHONDONTWRITEBYTECODE=1
STORMS=${STORMS:-kills stops source disk descriptors memory clock} READERS=${READERS:-32} KILLS=${KILLS:-200} CLOCK=${CLOCK:-} SLOW=${SLOW:-1}
FILES=32 BYTES=${FILE_BYTES:-$((4 << 20))} CHUNK=$((32 << 10)) SEED=0 SKIPPED=0 TOTAL_READS=0
MIB=$((1 << 20))

skipped() { SKIPPED=$((SKIPPED + 1)); say "SKIP  $*"; }
worker() { pgrep -P "${LAB_PIDS[dedupd]}" -f ' worker' | head -n 1; }
fault() { echo "$LAYER $*" >"$LAB/images/fault"; }
healed() { : >"$LAB/images/fault"; }
pool_is_clean() { dedupctl check --json | tail -n 1 | jq -e '.clean and (.bad | length) == 0'; }
fetch_requests() { grep -c '/blobs/.* 206 ' "$LAB/log/registry.log" || true; }

# fresh_mount: a new image on $LAB/mnt.
fresh_mount() {
  SEED=$((SEED + 1))
  LAYER=$(python3 "$REPO/tests/e2e/estargz-blob.py" --files $FILES --bytes "$BYTES" --chunk $CHUNK --seed $SEED "$LAB/images/storm$SEED" | jq -r .layer)
  mkdir -p "$LAB/mnt"
  dedupctl mount "$REGISTRY/storm$SEED:latest" "$LAB/mnt" >>"$LAB/log/mount.log"
}
away() {
  wait_until 15 dedupctl status >/dev/null
  dedupctl umount "$LAB/mnt" >>"$LAB/log/mount.log"
  dedupctl rm "$REGISTRY/storm$SEED:latest" >>"$LAB/log/mount.log"
  rm -rf "$LAB/images/storm$SEED"
}

readers() { # OPTION...
  python3 "$REPO/tests/e2e/read-under-kills.py" --files $FILES --bytes "$BYTES" --seed $SEED --readers "$READERS" --slow "$SLOW" "$@" \
    "${LAB_PIDS[dedupd]}:$LAB/mnt" 2>>"$LAB/log/readers.log" || true
}
readers_start() {
  rm -f "$LAB/enough"
  BEFORE=$(fetch_requests)
  readers --until "$LAB/enough" >"$LAB/result" &  # ends by itself when $LAB is gone
  LAB_PIDS[readers]=$!
}
# readers_end WHAT ALLOWED: ALLOWED is "none", or a reason why reads may fail.
readers_end() {
  touch "$LAB/enough"
  wait "${LAB_PIDS[readers]}"
  unset "LAB_PIDS[readers]"
  verdict "$1" "$2" "$(cat "$LAB/result")"
}

# verdict WHAT ALLOWED RESULT
verdict() {
  local reads failed
  reads=$(sed -E 's/.* reads=([0-9]+).*/\1/' <<<"$3") failed=$(sed -E 's/.* failed=([0-9]+).*/\1/' <<<"$3")
  TOTAL_READS=$((TOTAL_READS + reads))
  say "      $1: $3, $(($(fetch_requests) - BEFORE)) fetches"
  check_equal "$1: wrong and stuck" "wrong=0 stuck=0" "$(grep -oE '(wrong|stuck)=[0-9]+' <<<"$3" | paste -sd' ')"
  if [ "$2" = none ]; then check_equal "$1: failed reads" 0 "$failed"; else
    check_at_least "$1: reads that were right ($2)" $((READERS * 2 / SLOW)) $((reads - failed))
  fi
  check_at_least "$1: fetches meanwhile" $((50 / SLOW)) $(($(fetch_requests) - BEFORE))
}

storm_kills() {
  local left=$KILLS round result
  while [ "$left" -gt 0 ]; do
    round=$((left < 50 ? left : 50)) left=$((left - 50))
    fresh_mount
    BEFORE=$(fetch_requests)
    result=$(readers --kills "$round")
    verdict "worker killed $round times" none "$result"
    away
  done
}

# stop_for SECONDS PID
stop_for() { kill -STOP "$2" && sleep "$1" && kill -CONT "$2"; }
storm_stops() {
  fresh_mount
  readers_start
  sleep 1
  stop_for 10 "$(worker)"
  sleep 1
  stop_for 10 "${LAB_PIDS[dedupd]}"
  sleep 1
  readers_end "worker, then keeper stopped for 10 s" none
  away
}

storm_source() {
  fresh_mount
  fault sometimes 30
  readers_start
  sleep 10
  healed
  sleep 2
  readers_end "30 % of the requests fail" "after its retries the source has failed"
  away
}

# The pool's file system full to the last block, and free again.
storm_disk() {
  local i ballast=$LAB/small/ballast
  lab_stop dedupd
  truncate -s 256M "$LAB/small.ext4"
  mkfs.ext4 -q "$LAB/small.ext4"
  mkdir "$LAB/small"
  mount -o loop "$LAB/small.ext4" "$LAB/small" || { skipped "disk full: no loop mounts here"; start; return; }
  start ".root = \"$LAB/small/dedupd\" | .limits.min_free_bytes = 0"
  fresh_mount
  readers_start
  for ((i = 0; i < 4; i++)); do
    sleep 1
    # What is left is filled up; fallocate takes the rest of it in one piece or not at all.
    dd if=/dev/zero of="$ballast" bs=1M conv=fsync status=none 2>>"$LAB/log/ballast.log" || true
    sleep 1
    rm "$ballast"
  done
  sleep 1
  readers_end "disk full four times" "no space for what was missing"
  check "disk full: the pool is clean" pool_is_clean
  away
  lab_stop dedupd
  lab_unmount_below "$LAB/small"
  umount "$LAB/small"
  start
}

# First a daemon that may open 160 files and cannot raise that; then one that suddenly may open none at all.
storm_descriptors() {
  local pid soft i
  prlimit --pid "${LAB_PIDS[dedupd]}" --nofile=160:160
  kill -KILL "$(worker)"
  wait_until 15 dedupctl status >/dev/null
  fresh_mount
  readers_start
  sleep 8
  readers_end "160 open files at most" none
  away
  lab_stop dedupd
  start
  fresh_mount
  readers_start
  for ((i = 0; i < 3; i++)); do
    sleep 1
    pid=$(worker)
    soft=$(prlimit --pid "$pid" --nofile --noheadings --output SOFT | tr -d ' ')
    prlimit --pid "$pid" --nofile="$(find "/proc/$pid/fd" -mindepth 1 | wc -l):"
    sleep 2
    # A worker that died of it is another one by now.
    prlimit --pid "$pid" --nofile="$soft:" 2>/dev/null || true
  done
  sleep 1
  readers_end "no file descriptor free, three times" "the kernel denies an event it has no descriptor for"
  away
}

# In a cgroup of 64 MiB, page cache of what it writes included.
storm_memory() {
  local group file
  lab_stop dedupd
  if [ -e /sys/fs/cgroup/memory/memory.limit_in_bytes ]; then
    group=/sys/fs/cgroup/memory/dedup-storm-$$ file=memory.limit_in_bytes
  elif grep -qw memory /sys/fs/cgroup/cgroup.controllers 2>/dev/null; then
    group=/sys/fs/cgroup/dedup-storm-$$ file=memory.max
    echo +memory >/sys/fs/cgroup/cgroup.subtree_control 2>/dev/null || true
  fi
  if [ -z "${group:-}" ] || ! mkdir "$group" || ! echo $((64 * MIB)) >"$group/$file"; then
    [ -z "${group:-}" ] || rmdir "$group" || true
    skipped "memory limit: no memory controller here"
    start
    return
  fi
  # Readers stay outside; dedupd and what it starts are inside.
  IN_GROUP=$group start
  fresh_mount
  readers_start
  sleep 10
  readers_end "daemon limited to 64 MiB" none
  away
  lab_stop dedupd
  wait_until 10 rmdir "$group"
  start
}

storm_clock() {
  local jump
  [ -n "$CLOCK" ] || { skipped "clock jumps: CLOCK=1 lets this script set the clock"; return; }
  fresh_mount
  readers_start
  for jump in '+1 hour' '-2 hours' '+10 years' '-10 years' '+1 hour'; do
    sleep 1
    date -s "$jump" >/dev/null
  done
  sleep 1
  readers_end "clock jumps" none
  away
}

start() {
  dedupd_start "${1:-.}"
  if [ -n "${IN_GROUP:-}" ]; then
    local pid
    for pid in "${LAB_PIDS[dedupd]}" $(pgrep -P "${LAB_PIDS[dedupd]}"); do echo "$pid" >"$IN_GROUP/cgroup.procs"; done
  fi
}

require_root
require_programs python3 jq prlimit pgrep mkfs.ext4
lab_open
mkdir "$LAB/images"
# The delay keeps most of an image missing for as long as a storm lasts.
odd_registry_start --delay-ms 60
start
say "door: $(dedupd_number .door)"
for storm in $STORMS; do "storm_$storm"; done
check "the pool is clean" pool_is_clean
say "$TOTAL_READS reads verified"
say "$CHECKS_PASSED passed, $CHECKS_FAILED failed, $SKIPPED skipped"
[ "$CHECKS_FAILED" = 0 ]
