#!/bin/bash
# Recovery: milliseconds from the SIGKILL of dedupd's worker to the end of the first read of missing bytes after it, through each
# door, with an idle registry on loopback.
#   run.sh [--runs N] [--doors "NAME..."] [--quick] [--out DIR] [--json FILE] [--force] [BUILD]
#     --runs   kills for each door (20), 3.7 s apart
#     --quick  three kills
#     BUILD    build folder (build/release)
set -euo pipefail
REPO=$(cd "$(dirname "$0")/../../.." && pwd)
for piece in say check lab containerd registry dedupd bench; do . "$REPO/scripts/lib/$piece.sh"; done
export PYTHONDONTWRITEBYTECODE=1
KILLS=20
FILES=256 FILE_BYTES=$((1 << 20)) CHUNK_BYTES=4096
BENCH_OPTIONS=([--runs]=KILLS)
BENCH_QUICK=([KILLS]=3)
bench_options "$@"

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
  jq --arg door "$1" "$BENCH_JQ"'.milliseconds | {door: $door, kills: length, p50_ms: at(0.5), p95_ms: at(0.95), max_ms: max}' \
    <<<"$result" >>"$LAB/rows"
}

require_root
require_programs python3 jq
DOORS=$(bench_doors)
lab_open
mkdir "$LAB/images" "$LAB/mnt"
python3 "$REPO/tests/e2e/estargz-blob.py" --files $FILES --bytes $FILE_BYTES --chunk $CHUNK_BYTES "$LAB/images/small-chunks" >"$LAB/facts.json"
odd_registry_start
for door in $DOORS; do kills_behind "$door"; done
dedupd_wipe
bench_result "$(jq -s . "$LAB/rows")" '{"link": "loopback"}' '{
  "title": "From the death of the worker to the next byte", "kind": "bars", "x": "door", "y": ["p50_ms", "p95_ms", "max_ms"],
  "ylabel": "milliseconds"}'
checks_end
