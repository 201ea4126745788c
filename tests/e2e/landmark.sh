#!/bin/bash
# An eStargz layer's prefetch landmark is heeded: what lies before it comes to the node unasked and is read without the registry;
# nothing else comes; and prefetch.enabled turns it off.
#   landmark.sh [BUILD]     BUILD: build folder (default: build/release)
set -euo pipefail
REPO=$(cd "$(dirname "$0")/../.." && pwd)
BUILD=$(realpath "${1:-${BUILD:-$REPO/build/release}}")
for piece in say check lab containerd registry dedupd; do . "$REPO/scripts/lib/$piece.sh"; done
export PYTHONDONTWRITEBYTECODE=1
FILES=24 EARLY=8 FILE_BYTES=$((1 << 20)) CHUNK_BYTES=$((64 << 10))

reads() { python3 "$REPO/tests/conformance/doors/ways.py" read "$LAB/mnt" "$1" $FILE_BYTES 2>>"$LAB/log/ways.log" || true; }
fetched_chunks() { dedupd_number .fetch.chunks; }
all_early() { [ "$(fetched_chunks)" -ge $((EARLY * FILE_BYTES / CHUNK_BYTES)) ]; }
mounted() { dedupctl mount "$REGISTRY/optimized:latest" "$LAB/mnt" >>"$LAB/log/mount.log"; }
registry_fails() { echo "blobs status 500" >"$LAB/images/fault"; }

require_root
require_programs python3 jq
lab_open
mkdir "$LAB/images" "$LAB/mnt"
python3 "$REPO/tests/e2e/estargz-blob.py" --files $FILES --bytes $FILE_BYTES --chunk $CHUNK_BYTES --landmark $EARLY "$LAB/images/optimized" >"$LAB/facts.json"
odd_registry_start

dedupd_start '.fetch.retries = 0'
say "door: $(dedupd_number .door)"
mounted
check "what lies before the landmark comes unasked" wait_until 20 all_early
sleep 1 # would more come, it had begun
check_equal "chunks fetched" $((EARLY * FILE_BYTES / CHUNK_BYTES)) "$(fetched_chunks)"
registry_fails
for ((number = 0; number < EARLY; number++)); do check_equal "file $number, without a registry" right "$(reads $number)"; done
check_equal "file $EARLY, without a registry" EIO "$(reads $EARLY)"
: >"$LAB/images/fault"
check_equal "file $EARLY" right "$(reads $EARLY)"
dedupctl umount "$LAB/mnt" >>"$LAB/log/mount.log"

dedupd_wipe
dedupd_start '.fetch.retries = 0 | .prefetch.enabled = false'
mounted
sleep 1
check_equal "turned off: chunks fetched" 0 "$(fetched_chunks)"
dedupctl umount "$LAB/mnt" >>"$LAB/log/mount.log"
checks_end
