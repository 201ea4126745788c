#!/bin/bash
# Recovery: milliseconds from the SIGKILL of dedupd's worker to the end of the first read of missing bytes after it, through each
# door, with an idle registry on loopback.
#   run.sh [--kills N] [--doors "NAME..."] [--json FILE] [BUILD]
#     --kills  for each door (20), 3.7 s apart
#     BUILD    build folder (build/release)
set -euo pipefail
REPO=$(cd "$(dirname "$0")/../../.." && pwd)
for piece in say check lab containerd dedupd; do . "$REPO/scripts/lib/$piece.sh"; done
export PYTHONDONTWRITEBYTECODE=1
KILLS=20 DOORS='' JSON='' BUILD=$REPO/build/release
FILES=256 FILE_BYTES=$((1 << 20)) CHUNK_BYTES=4096
while [ $# -gt 0 ]; do
  case $1 in
    --kills) KILLS=$2; shift ;;
    --doors) DOORS=$2; shift ;;
    --json) JSON=$2; shift ;;
    -*) die "unknown option $1" ;;
    *) BUILD=$(realpath "$1") ;;
  esac
  shift
done

kills_behind() {
  local result
  DEDUPD_DOOR=$1
  dedupd_wipe
  dedupd_start '.log.level = "info"'
  dedupctl mount "$REGISTRY/small-chunks:latest" "$LAB/mnt" >>"$LAB/log/mount.log"
  result=$(python3 "$REPO/scripts/bench/recovery/first_read.py" --files $FILES --bytes $FILE_BYTES --chunk $CHUNK_BYTES --kills "$KILLS" \
    "${LAB_PIDS[dedupd]}" "$LAB/mnt")
  dedupctl umount "$LAB/mnt" >>"$LAB/log/mount.log"
  check_equal "$1: wrong reads of $(jq .reads <<<"$result")" 0 "$(jq .wrong <<<"$result")"
  jq --arg door "$1" '.milliseconds | sort | {door: $door, kills: length, p50_ms: .[((length - 1) / 2 | round)],
    p95_ms: .[((length - 1) * 0.95 | round)], max_ms: .[-1]}' <<<"$result" >>"$LAB/rows"
}

require_root
require_programs python3 jq
DOORS=${DOORS:-$("$BUILD/kmod-tools/dedup-kcheck" --json | jq -r '.doors[] | select(.works) | .name')}
lab_open
mkdir "$LAB/images" "$LAB/mnt"
python3 "$REPO/tests/e2e/estargz-blob.py" --files $FILES --bytes $FILE_BYTES --chunk $CHUNK_BYTES "$LAB/images/small-chunks" >"$LAB/facts.json"
lab_spawn registry python3 "$REPO/tests/e2e/odd-registry.py" "$LAB/images"
lab_ready registry 10 grep -q listening "$LAB/log/registry.log"
REGISTRY=$(sed -n 's/^listening on //p' "$LAB/log/registry.log")
for door in $DOORS; do kills_behind "$door"; done
dedupd_wipe
[ -z "$JSON" ] || jq -s . "$LAB/rows" >"$JSON"
jq -rs '(["door", "kills", "p50_ms", "p95_ms", "max_ms"]), (.[] | [.[]]) | @tsv' "$LAB/rows" | column -ts "$(printf '\t')"
checks_end
