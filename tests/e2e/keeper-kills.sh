#!/bin/bash
# SIGKILL of keeper and worker at one moment, again and again, under 16 verifying readers of a lazy mount, with a service manager
# that starts dedupd again: the witness keeps every reader waiting, the next dedupd takes over. No wrong byte, no failed read, no
# stuck reader. Then the witness dies, too, and the service manager's fd store is all that is left.
#   keeper-kills.sh [BUILD]     BUILD: build folder (default: build/release); KILLS (20), READERS (16)
set -euo pipefail
REPO=$(cd "$(dirname "$0")/../.." && pwd)
BUILD=$(realpath "${1:-${BUILD:-$REPO/build/release}}")
for piece in say check lab containerd dedupd; do . "$REPO/scripts/lib/$piece.sh"; done
export PYTHONDONTWRITEBYTECODE=1
KILLS=${KILLS:-20} READERS=${READERS:-16}
FILES=64 FILE_BYTES=$((8 << 20)) CHUNK_BYTES=$((64 << 10))

pool_is_clean() { dedupctl check --json | tail -n 1 | jq -e '.clean and (.bad | length) == 0'; }
family_is_whole() { [ "$(dedupd_number .holders)" = 3 ]; }

# start_service [--fd-store]
start_service() {
  mkdir -p "$LAB/service"
  DEDUPD_LAUNCHER=(python3 "$REPO/tests/e2e/service-manager.py" "$@" --state "$LAB/service")
  dedupd_start
  [ "$(dedupd_number .door)" = fanotify ] || {
    say "skipped: no fanotify pre-content events in this kernel: $(dedupd_number .door_reason)"
    exit 77
  }
}

# storm WHO KILLS: the line of read-under-kills.py
storm() {
  python3 "$REPO/tests/e2e/read-under-kills.py" --files $FILES --bytes $FILE_BYTES --readers "$READERS" --kills "$2" --victims "$1" \
    "$LAB/service/pid:$LAB/mnt" 2>>"$LAB/log/readers.log" || true
}

# second_is_refused: while a keeper lives.
second_is_refused() {
  local status=0
  "$BUILD/daemon/dedupd" --config "$LAB/config.json" >>"$LAB/log/second.log" 2>&1 || status=$?
  [ "$status" = 73 ]
}

require_root
require_programs python3 jq
lab_open
mkdir "$LAB/images" "$LAB/mnt"
python3 "$REPO/tests/e2e/estargz-blob.py" --files $FILES --bytes $FILE_BYTES --chunk $CHUNK_BYTES "$LAB/images/storm" >"$LAB/facts.json"
# The delay keeps most of the image missing until the last kill.
lab_spawn registry python3 "$REPO/tests/e2e/odd-registry.py" --delay-ms 25 "$LAB/images"
lab_ready registry 10 grep -q listening "$LAB/log/registry.log"
REGISTRY=$(sed -n 's/^listening on //p' "$LAB/log/registry.log")

start_service
dedupctl mount "$REGISTRY/storm:latest" "$LAB/mnt" >>"$LAB/log/mount.log"
check "three processes hold the groups" wait_until 5 family_is_whole
t0=$EPOCHREALTIME
result=$(storm keeper "$KILLS")
say "keeper and worker killed: $result ($(seconds_since "$t0") s)"
head -n 5 "$LAB/log/readers.log" >&2
check_equal "storm" "kills=$KILLS wrong=0 failed=0 stuck=0" "$(sed -E 's/ reads=[0-9]+//' <<<"$result")"
check "dedupd answers" wait_until 15 dedupctl status
check "three processes hold the groups again" wait_until 15 family_is_whole
check "a second dedupd is refused" second_is_refused
check_at_most "processes of dedupd" 3 "$(pgrep -cf "^(/proc/self/exe|$BUILD/daemon/dedupd) .*$LAB/config.json" || true)"
check "the pool is clean" pool_is_clean
check "the mount can be taken down" dedupctl umount "$LAB/mnt"
lab_stop dedupd
check_equal "processes left after a stop" 0 "$(pgrep -cf "$LAB/config.json" || true)"

say "$CHECKS_PASSED passed, $CHECKS_FAILED failed, 0 skipped"
[ "$CHECKS_FAILED" = 0 ]
