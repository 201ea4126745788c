#!/bin/bash
# An image is mounted during its pull, and stays mounted for a while after its last container: the next one finds the mount and
# the pages in it, and asks the daemon for nothing. Removing the image takes the mount with it; so does mount.keep_idle_ms = 0.
#   idle-mounts.sh [BUILD]     BUILD: build folder (default: build/release)
set -euo pipefail
REPO=$(cd "$(dirname "$0")/../.." && pwd)
BUILD=$(realpath "${1:-${BUILD:-$REPO/build/release}}")
for piece in say check lab containerd registry image-build image-convert dedupd cold; do . "$REPO/scripts/lib/$piece.sh"; done

pull() { ctr-remote images rpull --plain-http --snapshotter dedup "$IMAGE" >>"$LAB/log/pull.log" 2>&1 || die "rpull failed: $(tail -n 3 "$LAB/log/pull.log")"; }
run() { ctr run --rm --snapshotter dedup "$IMAGE" "$1-${LAB##*.}" python3 -c 'import numpy; print(numpy.eye(100).trace())' 2>>"$LAB/log/run.log" </dev/null; }
# Mounted chains and who holds them, as "CHAIN HOLDERS".
chains() { dedupctl status --json | jq -r '.chains[] | select(.mountpoint != "") | "\(.chain) \(.holders | length)"'; }
mounts_below() { grep -c " $LAB/dedupd/mounts/" /proc/self/mountinfo || true; }
idle() { [[ $(chains) == *" 0" ]]; }
nothing_mounted() { [ "$(mounts_below)" = 0 ]; }

kept() {
  local chain answered
  lab_cold dedup '.trace.auto_starts = 0'
  pull
  check "mounted before a container comes" wait_until 20 idle
  chain=$(chains)
  check_equal "the first start" 100.0 "$(run first)"
  check "no container uses it any more" wait_until 20 idle
  check_equal "the mount is the same" "$chain" "$(chains)"
  answered=$(dedupd_number .events.answered)
  check_equal "the second start" 100.0 "$(run second)"
  # Pages a start maps without reading may be missing; a mount of its own asks more than a hundred times.
  check_at_most "questions of the kernel in the second start" 10 $(($(dedupd_number .events.answered) - answered))
  ctr image rm --sync "$IMAGE" >>"$LAB/log/run.log"
  check "removing the image ends the mount" wait_until 30 nothing_mounted
  check_equal "and frees the pool" 0 "$(dedupctl pool stat --json | jq .bytes)"
}

not_kept() {
  lab_cold dedup '.trace.auto_starts = 0 | .mount.keep_idle_ms = 0'
  pull
  check_equal "mounts after the pull, with keep_idle_ms 0" 0 "$(mounts_below)"
  check_equal "the first start, with keep_idle_ms 0" 100.0 "$(run first)"
  check "and its mount ends with it" wait_until 20 nothing_mounted
}

require_root
require_programs containerd ctr-remote docker-registry skopeo
layout=$("$REPO/scripts/demo-image.sh" demo)
lab_open
registry_start
image_push "$layout/estargz" "$REGISTRY/demo:latest"
IMAGE=$REGISTRY/demo:latest
kept
not_kept
dedupd_wipe
checks_end
