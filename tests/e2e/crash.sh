#!/bin/bash
# Everything of ours is killed again and again in the middle of a pull, and while a lazy image is mounted and read: the pool
# is always found clean, and the pull can be repeated to the end.
#   crash.sh [BUILD]     BUILD: build folder (default: build/release); CRASHES: how many of each kind (20)
set -euo pipefail
REPO=$(cd "$(dirname "$0")/../.." && pwd)
BUILD=$(realpath "${1:-${BUILD:-$REPO/build/release}}")
for piece in say check lab containerd registry image-build image-convert tree dedupd cold; do . "$REPO/scripts/lib/$piece.sh"; done
export PYTHONDONTWRITEBYTECODE=1
CRASHES=${CRASHES:-20}

# kill_all: keeper and worker at once.
kill_all() {
  local workers
  mapfile -t workers < <(pgrep -P "${LAB_PIDS[dedupd]}")
  lab_kill dedupd "${workers[@]}"
}

# crash_during MS COMMAND...: runs it, and kills everything after MS milliseconds.
crash_during() {
  "${@:2}" >>"$LAB/log/crash.log" 2>&1 &
  sleep "$(bc <<<"scale = 3; $1 / 1000")"
  kill_all
  wait $! || true
  lab_unmount_below "$LAB"
}

pool_is_clean() { dedupctl check --json | tail -n 1 | jq -e '.clean and (.bad | length) == 0'; }

# tree_of REF FILE: mounts, reads every byte, unmounts.
tree_of() {
  mkdir -p "$LAB/mnt"
  dedupctl mount "$1" "$LAB/mnt" >>"$LAB/log/pull.log"
  tree_dump "$LAB/mnt" >"$2"
  dedupctl umount "$LAB/mnt" >>"$LAB/log/pull.log"
}

# crashes REF MS COMMAND...: kills at moments spread over the MS milliseconds that the undisturbed COMMAND takes.
crashes() {
  local i unclean=0
  for ((i = 0; i < CRASHES; i++)); do
    dedupd_start
    pool_is_clean >/dev/null || unclean=$((unclean + 1))
    # Half of the time from an empty pool, else on top of what the last one left.
    if ((i % 2)); then dedupctl rm "$1" >/dev/null 2>&1 || true; fi
    crash_during $(($2 * i / CRASHES + RANDOM % 50)) "${@:3}"
  done
  dedupd_start
  pool_is_clean >/dev/null || unclean=$((unclean + 1))
  check_equal "pools that were not clean after a crash" 0 "$unclean"
}

# kind WHAT REF COMMAND...: an undisturbed run, then crashes, then the whole tree once more.
kind() {
  local t0 whole_ms
  dedupd_start
  t0=$EPOCHREALTIME
  "${@:3}" >>"$LAB/log/pull.log"
  whole_ms=$(seconds_since "$t0" | awk '{ print int($1 * 1000) }')
  tree_of "$2" "$LAB/expected"
  dedupd_wipe
  say "$1: takes $whole_ms ms undisturbed; killing $CRASHES of them at moments spread over it"
  crashes "$2" "$whole_ms" "${@:3}"
  dedupctl pull "$2" >>"$LAB/log/pull.log"
  tree_of "$2" "$LAB/tree"
  check "$1: the repeated one reads as the undisturbed" cmp "$LAB/expected" "$LAB/tree"
  dedupctl rm "$2" >/dev/null
  check_equal "bytes left when the image is removed" 0 "$(dedupctl pool stat --json | jq .bytes)"
  dedupd_wipe
}

require_root
require_programs docker-registry skopeo jq bc pgrep
layouts=$("$REPO/scripts/demo-image.sh" pair-v1)
lab_open
registry_start
image_push "$layouts/plain" "$REGISTRY/pair:plain"
python3 "$REPO/tests/e2e/estargz-blob.py" --files 1500 --bytes 40000 --chunk 16384 "$LAB/lazy" >"$LAB/facts.json"
image_push "$LAB/lazy" "$REGISTRY/lazy:estargz"

kind "plain pull" "$REGISTRY/pair:plain" dedupctl pull "$REGISTRY/pair:plain"
kind "eStargz mount and read" "$REGISTRY/lazy:estargz" tree_of "$REGISTRY/lazy:estargz" "$LAB/crashed"
checks_end
