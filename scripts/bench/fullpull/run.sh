#!/bin/bash
# Full pull: images without anything lazy, gzip and zstd, from a registry on loopback to a node that has nothing: our snapshotter
# against overlayfs of this Debian's containerd, and overlayfs and the EROFS differ of Debian unstable's.
#   run.sh [--images "NAME..."] [--runs N] [--quick] [--out DIR] [--json FILE] [--force] [BUILD]
#     --images  folders of scripts/images (nginx pyapp)
#     --runs    rounds; in each, every image, form and side takes its turn (3)
#     --quick   one round of nginx
#     BUILD     build folder (build/release)
# pull_s: until the pull returns; synced_s: until sync(1) has as well, because ours writes its data to the disk and the others leave it
# in memory. cpu_s: of containerd, its children that ended, the client, and for ours dedupd and dedup-snapshotter; cpu_s_per_gb of
# uncompressed layers. peak_mib: the sum of the peaks of these processes, children that ended left out, pages they share counted for
# each; dedupd_mib: of dedupd's worker alone. faster: than overlayfs of this Debian's containerd.
# of_ceiling: pull_s as part of what this machine could do at best: to inflate, to hash the blob once and the content twice (diffID,
# chunks), and to write, as verify_rate does it in the same run, spread over all CPUs without a gap; or the disk alone, when that is
# slower.
set -euo pipefail
REPO=$(cd "$(dirname "$0")/../../.." && pwd)
for piece in say check lab containerd registry image-build image-convert dedupd cold peers bench; do . "$REPO/scripts/lib/$piece.sh"; done
IMAGES='nginx pyapp' RUNS=3
BENCH_OPTIONS=([--images]=IMAGES [--runs]=RUNS)
BENCH_QUICK=([IMAGES]=nginx [RUNS]=1)
bench_options "$@"
declare -A LAYOUTS=()

# side_start SIDE
side_start() {
  containerd_wipe
  dedupd_wipe
  case $1 in
    ours) lab_cold dedup ;;
    'overlayfs 1.6') lab_cold overlayfs ;;
    *) sid_containerd_start ;;
  esac
}

# side_pull SIDE REF: prints "client's CPU seconds, its peak KiB".
side_pull() {
  local command
  case $1 in
    # ctr-remote sends the labels with which our daemon fetches by itself.
    ours) command=(ctr-remote images rpull --plain-http --snapshotter dedup) ;;
    'overlayfs 1.6') command=(ctr image pull --plain-http --snapshotter overlayfs) ;;
    *) command=("$CTR" image pull --plain-http --snapshotter "${1% *}") ;;
  esac
  /usr/bin/time -f '%U %S %M' -o "$LAB/time" "${command[@]}" "$2" >"$LAB/log/pull.log" 2>&1 ||
    die "$1: pull of $2 failed: $(tail -n 3 "$LAB/log/pull.log")"
  awk '{ print $1 + $2, $3 }' "$LAB/time"
}

side_pids() {
  local name
  for name in containerd dedupd dedup-snapshotter; do [ -z "${LAB_PIDS[$name]:-}" ] || echo "${LAB_PIDS[$name]}"; done
  [ -z "${LAB_PIDS[dedupd]:-}" ] || pgrep -P "${LAB_PIDS[dedupd]}"
}

# With children that ended: unpigz, mkfs.erofs.
side_cpu() { side_pids | sed 's|.*|/proc/&/stat|' | xargs awk -v hz="$(getconf CLK_TCK)" '{ sum += $14 + $15 + $16 + $17 } END { printf "%.2f", sum / hz }'; }
side_peak_kib() { side_pids | sed 's|.*|/proc/&/status|' | xargs awk '/^VmHWM/ { sum += $2 } END { print sum }'; }

dedupd_peak_bytes() { if [ -n "${LAB_PIDS[dedupd]:-}" ]; then dedupd_number .memory.peak_rss_bytes; else echo null; fi; }

# cold_pull SIDE IMAGE FORM: one sample.
cold_pull() {
  local side=$1 image=$2 form=$3 mark cpu t0 pull_s synced_s client_cpu client_kib fetched
  side_start "$side"
  registry_warm_image "${LAYOUTS[$image]}/$form" # for every side alike
  sync
  mark=$(registry_mark)
  cpu=$(side_cpu)
  t0=$EPOCHREALTIME
  read -r client_cpu client_kib < <(side_pull "$side" "$REGISTRY/$image:$form")
  pull_s=$(seconds_since "$t0")
  sync
  synced_s=$(seconds_since "$t0")
  fetched=$(registry_bytes "$mark")
  check_at_least "$image $form, $side: bytes fetched" "$(jq .blob_bytes "$LAB/$image-$form.parts")" "$fetched"
  jq -nc --arg side "$side" --arg image "$image" --arg form "$form" \
    --argjson n "[$pull_s, $synced_s, $cpu, $(side_cpu), $client_cpu, $(side_peak_kib), $client_kib, $(dedupd_peak_bytes)]" \
    --slurpfile parts "$LAB/$image-$form.parts" \
    '{image: $image, form: $form, side: $side, pull_s: $n[0], synced_s: $n[1], cpu_s: ($n[3] - $n[2] + $n[4]),
      peak_mib: (($n[5] + $n[6]) / 1024), dedupd_mib: ($n[7] | if . then . / 1048576 else null end), parts: $parts[0]}' >>"$LAB/samples"
  say "round $round: $image $form, $side: $pull_s s, $synced_s s with sync"
}

# What the work costs alone, once more in each round.
measure_parts() {
  local image form
  for image in $IMAGES; do
    for form in plain zstd; do
      image_manifest "${LAYOUTS[$image]}/$form" | jq -r '.layers[].digest' | sed "s|sha256:|${LAYOUTS[$image]}/$form/blobs/sha256/|" |
        xargs "$BUILD/tests/bench/verify_rate" --parts "$LAB" >"$LAB/$image-$form.parts"
    done
  done
}

rows() {
  jq -s --argjson cpus "$(nproc)" "$BENCH_JQ"'
    def median(f): map(f) | at(0.5);
    group_by([.image, .form]) | map(
      (map(select(.side == "overlayfs 1.6")) | median(.pull_s)) as $overlayfs
      | median(.parts | [(.inflate_cpu_s + .sha256_cpu_s * (2 + .blob_bytes / .bytes) + .write_cpu_s) / $cpus, .write_s] | max) as $ceiling
      | group_by(.side) | map(.[0].parts.bytes as $bytes
        | {image: .[0].image, form: (.[0].form | sub("plain"; "gzip")), side: .[0].side, runs: length, pull_s: median(.pull_s),
           p95_s: (map(.pull_s) | at(0.95)), synced_s: median(.synced_s), mb_s: ($bytes / 1e6 / median(.pull_s)), cpu_s: median(.cpu_s),
           cpu_s_per_gb: (median(.cpu_s) / $bytes * 1e9), peak_mib: median(.peak_mib), dedupd_mib: median(.dedupd_mib),
           faster: ($overlayfs / median(.pull_s)), ceiling_s: $ceiling, of_ceiling: ($ceiling / median(.pull_s))}
        | map_values(if type == "number" then digits(2) else . end))) | flatten' "$LAB/samples"
}

require_root
require_programs containerd ctr-remote docker-registry skopeo jq /usr/bin/time
[ -x "$BUILD/tests/bench/verify_rate" ] || die "no $BUILD/tests/bench/verify_rate: build the target verify_rate"
read -ra images <<<"$IMAGES"
# Not in a lab of ours: it opens its own.
for image in "${images[@]}"; do LAYOUTS[$image]=$("$REPO/scripts/demo-image.sh" "$image"); done
lab_open
sides=(ours 'overlayfs 1.6')
if peers_fetch; then sides+=('overlayfs 2' 'erofs 2'); else say "no containerd of Debian unstable: $PEERS_GAP"; fi
registry_start
for image in "${images[@]}"; do
  image_zstd "${LAYOUTS[$image]}"
  for form in plain zstd; do image_push "${LAYOUTS[$image]}/$form" "$REGISTRY/$image:$form"; done
done
for ((round = 1; round <= RUNS; ++round)); do
  measure_parts
  for image in "${images[@]}"; do
    for form in plain zstd; do
      for side in "${sides[@]}"; do cold_pull "$side" "$image" "$form"; done
    done
  done
done
containerd_wipe
dedupd_wipe
bench_result "$(rows)" "$(jq -s --arg gap "$PEERS_GAP" --arg unstable "${PEERS:+$(peers_version containerd)}" \
  '{link: "loopback", versions: {"containerd 2": $unstable}, gaps: [$gap | select(. != "")], samples: .}' "$LAB/samples")" \
  '{"title": "Full pull, loopback", "kind": "bars", "x": "image", "y": "pull_s", "group": "side", "facet": "form", "floor": "ceiling_s",
    "ylabel": "seconds (median)"}'
checks_end
