#!/bin/bash
# A segment whose table is damaged on disk costs only the images that use it: the daemon starts, other images are served, readers
# of a mount that outlived the worker get EIO and never zeros, and what the error advises brings the image back.
#   lost-segment.sh [BUILD]     BUILD: build folder (default: build/release)
set -euo pipefail
REPO=$(cd "$(dirname "$0")/../.." && pwd)
BUILD=$(realpath "${1:-${BUILD:-$REPO/build/release}}")
for piece in say check lab containerd registry dedupd; do . "$REPO/scripts/lib/$piece.sh"; done
export PYTHONDONTWRITEBYTECODE=1
FILES=4 FILE_BYTES=$((1 << 20)) CHUNK_BYTES=$((64 << 10))

ways() { python3 "$REPO/tests/conformance/doors/ways.py" read "$LAB/$1" "$2" $FILE_BYTES --seed "$3" 2>>"$LAB/log/ways.log" || true; }
mounted() { mkdir -p "$LAB/$1" && dedupctl mount "$REGISTRY/$1:latest" "$LAB/$1" >>"$LAB/log/mount.log" 2>"$LAB/err"; }
worker_changed() { [ "$(dedupd_number .worker_restarts)" -gt "$1" ]; }

# The file is replaced, not changed: a worker has it mapped.
damage() {
  cp "$1" "$1.bad"
  printf 'X' | dd of="$1.bad" bs=1 seek=100 conv=notrunc status=none
  mv "$1.bad" "$1"
}

require_root
require_programs python3 jq
lab_open
mkdir "$LAB/images"
for number in 1 2; do
  python3 "$REPO/tests/e2e/estargz-blob.py" --files $FILES --bytes $FILE_BYTES --chunk $CHUNK_BYTES --seed $number "$LAB/images/image$number" >>"$LAB/facts"
done
odd_registry_start
dedupd_start
say "door: $(dedupd_number .door)"
mounted image1
mounted image2
check_equal "image 1, before" right "$(ways image1 0 1)"
check_equal "image 2, before" right "$(ways image2 0 2)"

damage "$LAB/dedupd/pool/segments/00000001.table"
worker=$(pgrep -P "${LAB_PIDS[dedupd]}" --newest)
kill -KILL "$worker"
check "a worker comes up" wait_until 20 worker_changed 0
check_equal "image 1, mounted before: missing data" EIO "$(ways image1 1 1)"
check_equal "image 2, mounted before" right "$(ways image2 1 2)"
check_equal "pool is clean" false "$(dedupctl check --json 2>/dev/null | tail -n 1 | jq .clean)"
check_equal "damage is in segments" 1 "$(dedupctl check --json 2>/dev/null | tail -n 1 | jq -c '[.bad[].segment] | unique[]')"

lab_stop dedupd
dedupd_start
lab_unmount_below "$LAB/image1"
lab_unmount_below "$LAB/image2"
for number in 1 2; do dedupctl umount "$LAB/image$number" >>"$LAB/log/mount.log" 2>&1 || true; done
mounted image2 && check_equal "image 2, after a stop" right "$(ways image2 2 2)"
if mounted image1; then failed "image 1 was mounted"; else
  check "the error names the segment and says what to do" grep -q 'segment 1 .*remove the images .*pull' "$LAB/err"
fi
check "image 1 can be removed" dedupctl rm "$REGISTRY/image1:latest"
check "and mounted anew" mounted image1
check_equal "image 1, anew" right "$(ways image1 1 1)"
check_equal "pool is clean again" true "$(dedupctl check --json | tail -n 1 | jq .clean)"
for number in 1 2; do dedupctl umount "$LAB/image$number" >>"$LAB/log/mount.log"; done
checks_end
