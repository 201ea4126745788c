#!/bin/bash
# Deduplication: what the pool keeps and the registry sends for all versions of an image, one after the other, against what files,
# fixed-size chunks and 4 KiB blocks would save. The bytes are exact; nothing is timed.
#   run.sh [--series "NAME:NAME..."] [--quick] [--out DIR] [--json FILE] [--force] [BUILD]
#     --series  versions of one image, folders of scripts/images, oldest first ("pair-v1:pair-v2 pyapp:pyapp-v2 node:node-v2", those
#               that are there)
#     --quick   the first series
#     BUILD     build folder (build/release)
# Methods: see tests/bench/dedup_oracle.cc; ours are a real dedupd and registry: plain pulls the gzip layers, lazy mounts the eStargz
# layers and reads every file. Columns: first_mb, kept_mb: content of the first version, of all; disk_mb in blocks of 4 KiB, for ours
# blocks of the pool's files; saved_pct of what `none` keeps; of_oracle that saving against the 4 KiB blocks'; wire_first_mb,
# wire_more_mb: sent for the first version, for all later ones; of_new that against their new chunks (estargz), compressed.
set -euo pipefail
REPO=$(cd "$(dirname "$0")/../../.." && pwd)
for piece in say check lab containerd registry image-build image-convert dedupd bench; do . "$REPO/scripts/lib/$piece.sh"; done
SERIES=''
for pair in pair-v1:pair-v2 pyapp:pyapp-v2 node:node-v2; do
  [ ! -d "$IMAGE_RECIPES/${pair#*:}" ] || SERIES+="${SERIES:+ }$pair"
done
BENCH_OPTIONS=([--series]=SERIES)
BENCH_QUICK=([SERIES]=${SERIES%% *})
bench_options "$@"

pool() { dedupctl pool stat --json | jq ".$1"; }

take() {
  case $1 in
    plain) dedupctl pull "$2" ;;
    lazy)
      dedupctl mount "$2" "$LAB/mnt"
      find "$LAB/mnt" -type f -print0 | xargs -0 cat >/dev/null
      dedupctl umount "$LAB/mnt"
      ;;
  esac >>"$LAB/log/take.log"
}

# measure SERIES KIND VERSION...: one row of $LAB/ours per version; all into one pool.
measure() {
  local series=$1 kind=$2 version mark step=0
  dedupd_wipe
  dedupd_start '.log.level = "info" | .prefetch.enabled = false | .trace.auto_starts = 0'
  mark=$(registry_mark)
  for version in "${@:3}"; do
    take "$kind" "$REGISTRY/$version:$kind"
    sync -f "$LAB/dedupd"
    jq -nc --arg series "$series" --arg method "ours, $kind" --argjson step $((step++)) --argjson bytes "$(pool bytes)" \
      --argjson disk "$(pool disk_bytes)" --argjson present "$(pool present_bytes)" --argjson wire "$(registry_bytes "$mark")" \
      '{series: $series, method: $method, step: $step, bytes: $bytes, disk_bytes: $disk, present: $present, wire_bytes: $wire}' >>"$LAB/ours"
  done
  # Of a lazy image, all that can be read: not files that a later layer replaces.
  check_at_least "$series, $kind: bytes present" $(($(pool bytes) * 99 / 100)) "$(pool present_bytes)"
}

require_root
require_programs docker-registry skopeo jq
[ -x "$BUILD/tests/bench/dedup_oracle" ] || die "no $BUILD/tests/bench/dedup_oracle: build the target dedup_oracle"
read -ra names <<<"${SERIES//:/ }"
mapfile -t layouts < <("$REPO/scripts/demo-image.sh" "${names[@]}")
lab_open
mkdir "$LAB/mnt"
registry_start
for ((i = 0; i < ${#names[@]}; ++i)); do
  image_push "${layouts[i]}/plain" "$REGISTRY/${names[i]}:plain"
  image_push "${layouts[i]}/estargz" "$REGISTRY/${names[i]}:lazy"
done
first=0
for series in $SERIES; do
  IFS=: read -ra versions <<<"$series"
  "$BUILD/tests/bench/dedup_oracle" "${layouts[@]:first:${#versions[@]}}" |
    jq -c --arg series "$series" 'to_entries[] | .key as $step | .value[] | {series: $series, step: $step} + .' >>"$LAB/methods"
  for kind in plain lazy; do measure "$series" $kind "${versions[@]}"; done
  first=$((first + ${#versions[@]}))
done
dedupd_wipe

rows=$(jq -s "$BENCH_JQ"'
  def mb: if . then . / 1e6 | digits(1) else . end;
  group_by(.series) | map(
    (map(select(.method == "none")) | max_by(.step)) as $none | (map(select(.method == "4 KiB")) | max_by(.step)) as $oracle
    | (map(select(.method == "estargz"))) as $new | ($new | max_by(.step).wire_bytes - min_by(.step).wire_bytes) as $new_wire
    | group_by(.method) | map(min_by(.step) as $first | max_by(.step) as $all
      | {series: $all.series, method: $all.method, versions: length, first_mb: ($first.bytes | mb), kept_mb: ($all.bytes | mb),
         disk_mb: ($all.disk_bytes | mb), saved_pct: (100 - $all.bytes * 100 / $none.bytes | digits(1)),
         of_oracle: (($none.bytes - $all.bytes) / ($none.bytes - $oracle.bytes) | digits(3)), wire_first_mb: ($first.wire_bytes | mb),
         wire_more_mb: (if $all.wire_bytes then $all.wire_bytes - $first.wire_bytes | mb else null end),
         of_new: (if $all.wire_bytes then ($all.wire_bytes - $first.wire_bytes) / $new_wire | digits(2) else null end)})
    | sort_by(-.kept_mb, .method)) | flatten' "$LAB/methods" "$LAB/ours")
bench_result "$rows" "$(jq -s '{link: "loopback", samples: .}' "$LAB/methods" "$LAB/ours")" '[
  {"title": "Kept on the node for all versions", "kind": "bars", "x": "method", "y": ["first_mb", "kept_mb"], "facet": "series",
   "ylabel": "MB of file contents"},
  {"title": "Sent by the registry", "kind": "bars", "x": "method", "y": ["wire_first_mb", "wire_more_mb"], "facet": "series",
   "where": {"method": ["none", "layer", "estargz", "ours, plain", "ours, lazy"]}, "ylabel": "MB, compressed"}]'
checks_end
