#!/bin/bash
# 100 SIGKILLs of dedupd's worker at random moments under 16 verifying readers of a lazy mount: no wrong byte, no failed read, no
# stuck reader, and a clean pool afterwards.
#   worker-kills.sh [BUILD]     BUILD: build folder (default: build/release); KILLS (100), READERS (16), FILE_BYTES (8 MiB) of
#                               each of the 64 files, SLOW (1): how many times slower this machine is than a real one
set -euo pipefail
REPO=$(cd "$(dirname "$0")/../.." && pwd)
BUILD=$(realpath "${1:-${BUILD:-$REPO/build/release}}")
for piece in say check lab containerd registry dedupd; do . "$REPO/scripts/lib/$piece.sh"; done
export PYTHONDONTWRITEBYTECODE=1
KILLS=${KILLS:-100} READERS=${READERS:-16} SLOW=${SLOW:-1}
FILES=64 FILE_BYTES=${FILE_BYTES:-$((8 << 20))} CHUNK_BYTES=$((64 << 10))

chunk_requests() { grep -c '/blobs/.* 206 ' "$LAB/log/registry.log" || true; }
pool_is_clean() { dedupctl check --json | tail -n 1 | jq -e '.clean and (.bad | length) == 0'; }

require_root
require_programs python3 jq
lab_open
mkdir "$LAB/images" "$LAB/mnt"
python3 "$REPO/tests/e2e/estargz-blob.py" --files $FILES --bytes "$FILE_BYTES" --chunk $CHUNK_BYTES "$LAB/images/storm" >"$LAB/facts.json"
# The delay keeps most of the image missing until the last kill.
odd_registry_start --delay-ms 25
dedupd_start
say "door: $(dedupd_number .door)"

dedupctl mount "$REGISTRY/storm:latest" "$LAB/mnt" >>"$LAB/log/mount.log"
before=$(chunk_requests)
t0=$EPOCHREALTIME
result=$(python3 "$REPO/tests/e2e/read-under-kills.py" --files $FILES --bytes "$FILE_BYTES" --readers "$READERS" --kills "$KILLS" --slow "$SLOW" \
  "${LAB_PIDS[dedupd]}:$LAB/mnt" 2>"$LAB/log/readers.log") || true
fetches=$(($(chunk_requests) - before))
say "$result ($(seconds_since "$t0") s, $fetches fetches)"
head -n 5 "$LAB/log/readers.log" >&2
check_equal "storm" "kills=$KILLS wrong=0 failed=0 stuck=0" "$(sed -E 's/ reads=[0-9]+//' <<<"$result")"
check_at_least "fetches during the storm" $((KILLS * 5 / SLOW)) "$fetches"
check "the daemon answers" wait_until 15 dedupctl status
check_at_least "worker restarts" "$KILLS" "$(dedupd_number .worker_restarts)"
check "the pool is clean" pool_is_clean
say "events of the last worker: $(dedupd_number '.events | tostring'), VmHWM $(dedupd_number .memory.peak_rss_bytes) bytes"
check "the mount can be taken down" dedupctl umount "$LAB/mnt"
say "$CHECKS_PASSED passed, $CHECKS_FAILED failed, 0 skipped"
[ "$CHECKS_FAILED" = 0 ]
