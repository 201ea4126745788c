#!/bin/bash
# Everything of ours is killed again and again in the middle of a pull: the pool is always found clean, and the pull can be
# repeated to the end.
#   crash.sh [BUILD]     BUILD: build folder (default: build/release); CRASHES: how many (20)
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
  lab_unmount_below "$LAB/dedupd"
}

# crash_during KIND REF MS: pulls, and kills after MS milliseconds.
crash_during() {
  dedupctl "$1" "$2" "${@:4}" >>"$LAB/log/pull.log" 2>&1 &
  sleep "$(bc <<<"scale = 3; $3 / 1000")"
  kill_all
  wait $! || true
}

pool_is_clean() { dedupctl check --json | tail -n 1 | jq -e '.clean and (.bad | length) == 0'; }

require_root
require_programs docker-registry skopeo jq bc pgrep
layouts=$("$REPO/scripts/demo-image.sh" pair-v1)
lab_open
registry_start
image_push "$layouts/plain" "$REGISTRY/pair:plain"
image_push "$layouts/estargz" "$REGISTRY/pair:estargz"

dedupd_start
t0=$EPOCHREALTIME
dedupctl pull "$REGISTRY/pair:plain" >>"$LAB/log/pull.log"
whole_ms=$(seconds_since "$t0" | awk '{ print int($1 * 1000) }')
mkdir "$LAB/mnt"
dedupctl mount "$REGISTRY/pair:plain" "$LAB/mnt" >>"$LAB/log/pull.log"
tree_dump "$LAB/mnt" >"$LAB/expected"
dedupctl umount "$LAB/mnt" >>"$LAB/log/pull.log"
dedupd_wipe
say "an undisturbed pull takes $whole_ms ms; killing $CRASHES pulls at moments spread over it"

unclean=0
for ((i = 0; i < CRASHES; i++)); do
  dedupd_start
  pool_is_clean >/dev/null || unclean=$((unclean + 1))
  # Half of the time from an empty pool, else on top of what the last pull left.
  if ((i % 2)); then dedupctl rm "$REGISTRY/pair:plain" >/dev/null 2>&1 || true; fi
  crash_during pull "$REGISTRY/pair:plain" $((whole_ms * i / CRASHES + RANDOM % 50))
done
dedupd_start
pool_is_clean >/dev/null || unclean=$((unclean + 1))
check_equal "pools that were not clean after a crash" 0 "$unclean"

dedupctl pull "$REGISTRY/pair:plain" >>"$LAB/log/pull.log"
dedupctl mount "$REGISTRY/pair:plain" "$LAB/mnt" >>"$LAB/log/pull.log"
tree_dump "$LAB/mnt" >"$LAB/tree"
check "the repeated pull reads as the undisturbed one" cmp "$LAB/expected" "$LAB/tree"
dedupctl umount "$LAB/mnt" >>"$LAB/log/pull.log"
dedupctl rm "$REGISTRY/pair:plain" >/dev/null
check_equal "bytes left when the image is removed" 0 "$(dedupctl pool stat --json | jq .bytes)"
checks_end
