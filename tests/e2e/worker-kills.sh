#!/bin/bash
# 100 SIGKILLs of dedupd's worker at random moments under 16 verifying readers of a lazy mount: no wrong byte, no failed read, no
# stuck reader, and a clean pool afterwards.
#   worker-kills.sh [BUILD]     BUILD: build folder (default: build/release); KILLS (100), READERS (16)
# Several daemons share the kills: a keeper slows down restarts when deaths come thick.
set -euo pipefail
REPO=$(cd "$(dirname "$0")/../.." && pwd)
BUILD=$(realpath "${1:-${BUILD:-$REPO/build/release}}")
for piece in say check lab containerd registry dedupd; do . "$REPO/scripts/lib/$piece.sh"; done
export PYTHONDONTWRITEBYTECODE=1
KILLS=${KILLS:-100} READERS=${READERS:-16} DAEMONS=3
FILES=64 FILE_BYTES=$((8 << 20)) CHUNK_BYTES=$((64 << 10))

ctl() { "$BUILD/daemon/dedupctl" --socket "$LAB/$1.sock" "${@:2}"; }

# daemon_start NAME: a dedupd with root and socket of its own.
daemon_start() {
  jq -n --arg lab "$LAB" --arg name "$1" --arg registry "$REGISTRY" \
    '{root: "\($lab)/\($name)", socket: "\($lab)/\($name).sock", log: {level: "info", format: "text"},
      registries: {($registry): {plain_http: true}}}' >"$LAB/$1.json"
  mkdir -p "$LAB/$1" "$LAB/mnt-$1"
  lab_spawn "$1" "$BUILD/daemon/dedupd" --config "$LAB/$1.json"
  lab_ready "$1" 20 ctl "$1" status
}

chunk_requests() { grep -c '/blobs/.* 206 ' "$LAB/log/registry.log" || true; }
pool_is_clean() { ctl "$1" check --json | tail -n 1 | jq -e '.clean and (.bad | length) == 0'; }

require_root
require_programs python3 jq
lab_open
mkdir "$LAB/images"
python3 "$REPO/tests/e2e/estargz-blob.py" --files $FILES --bytes $FILE_BYTES --chunk $CHUNK_BYTES "$LAB/images/storm" >"$LAB/facts.json"
# The delay keeps most of the image missing until the last kill.
lab_spawn registry python3 "$REPO/tests/e2e/odd-registry.py" --delay-ms 25 "$LAB/images"
lab_ready registry 10 grep -q listening "$LAB/log/registry.log"
REGISTRY=$(sed -n 's/^listening on //p' "$LAB/log/registry.log")

rigs=()
for ((i = 0; i < DAEMONS; i++)); do
  daemon_start "daemon$i"
  ctl "daemon$i" mount "$REGISTRY/storm:latest" "$LAB/mnt-daemon$i" >>"$LAB/log/mount.log"
  rigs+=("${LAB_PIDS[daemon$i]}:$LAB/mnt-daemon$i")
done
[ "$(ctl daemon0 status --json | jq -r .door)" = fanotify ] || {
  say "skipped: no fanotify pre-content events in this kernel: $(ctl daemon0 status --json | jq -r .door_reason)"
  exit 77
}

before=$(chunk_requests)
t0=$EPOCHREALTIME
result=$(python3 "$REPO/tests/e2e/read-under-kills.py" --files $FILES --bytes $FILE_BYTES --readers "$READERS" --kills "$KILLS" "${rigs[@]}" 2>"$LAB/log/readers.log") || true
say "$result ($(seconds_since "$t0") s, $(($(chunk_requests) - before)) fetches, $DAEMONS daemons)"
head -n 5 "$LAB/log/readers.log" >&2
check_equal "storm" "kills=$KILLS wrong=0 failed=0 stuck=0" "$(sed -E 's/ reads=[0-9]+//' <<<"$result")"
check_at_least "fetches during the storm" 20 $(($(chunk_requests) - before))
for ((i = 0; i < DAEMONS; i++)); do
  wait_until 15 ctl "daemon$i" status || true
  check "the pool of daemon$i is clean" pool_is_clean "daemon$i"
  say "  $(ctl daemon$i status --json | jq -c '{worker_restarts, events, memory}')"
  check "daemon$i unmounts" ctl "daemon$i" umount "$LAB/mnt-daemon$i"
done
say "$CHECKS_PASSED passed, $CHECKS_FAILED failed, 0 skipped"
[ "$CHECKS_FAILED" = 0 ]
