#!/bin/bash
# Cold start: pull of a lazy image and run until its first line of output, on a node that has nothing, over a slow link; in each
# round every image and mode takes its turn.
#   run.sh [--images "NAME..."] [--runs N] [--link RTT_MS:MBIT] [--quick] [--json FILE] [BUILD]
#     --images  folders of scripts/images (pyapp node nginx postgres)
#     --runs    rounds (5)
#     --link    round trip time and bandwidth of the link to the registry (20:200); 0: none, no limit
#     --quick   two small images, one of which the tests build anyway; one round
#     BUILD     build folder (build/release)
# Modes: lazy, profile, wrong (see modes.sh beside this file).
# Columns: pull_s, run_s (from the end of the pull to the first line), total_s their sum; warm_s a second run on the same node;
# floor_s 4 round trips, the bytes at full bandwidth, and warm_s; medians and one 95th percentile. cpu_s is dedupd's, until the
# first line. touched, miss_pct, late_pct come from one more start, which is recorded and not timed: ranges the container touched,
# those it had to fetch itself, and those it waited for although they were on their way. LAB_KEEP=1 keeps all logs, of the link,
# too; timeline.py says from it where the time went.
set -euo pipefail
REPO=$(cd "$(dirname "$0")/../../.." && pwd)
for piece in say check lab containerd registry image-build image-convert dedupd cold bench; do . "$REPO/scripts/lib/$piece.sh"; done
. "$REPO/scripts/bench/coldstart/modes.sh"
IMAGES='pyapp node nginx postgres' RUNS=5 LINK=20:200
BENCH_OPTIONS=([--images]=IMAGES [--runs]=RUNS [--link]=LINK)
bench_options "$@"
[ -z "$QUICK" ] || IMAGES='demo nginx' RUNS=1
RTT_MS=${LINK%:*} MBIT=${LINK#*:}

link_start() {
  lab_spawn link "$BUILD/tests/bench/slow_link" --to "$REGISTRY" --rtt-ms "$RTT_MS" --mbit "$MBIT" --log "$LAB/log/deliveries"
  lab_ready link 10 grep -q listening "$LAB/log/link.log"
  LINK_ADDRESS=$(sed -n 's/^listening on //p' "$LAB/log/link.log")
}

pull() { ctr-remote images rpull --plain-http --snapshotter dedup "$LINK_ADDRESS/$1:lazy" >>"$LAB/log/pull.log" 2>&1 || die "pull of $1 failed: $(tail -n 3 "$LAB/log/pull.log")"; }

# run_until_ready IMAGE NAME: runs the image's own command until its first line of output, which must be `ready`. runc knows
# containers by id alone: another lab may have one of that name.
run_until_ready() {
  local line pid
  exec 3< <(exec ctr run --rm --snapshotter dedup "$LINK_ADDRESS/$1:lazy" "$2-${LAB##*.}" 2>>"$LAB/log/run.log" </dev/null)
  pid=$!
  read -r line <&3 || die "no output from $1: $(tail -n 3 "$LAB/log/run.log")"
  [[ $line == ready* ]] || die "$1 printed: $line"
  RUN_PID=$pid
}

# A service ends a moment after its first line.
run_end() {
  wait_until 10 lab_gone "$RUN_PID" || lab_stop_containers
  exec 3<&-
}

dedupd_cpu() {
  local pid
  for pid in "${LAB_PIDS[dedupd]}" $(pgrep -P "${LAB_PIDS[dedupd]}"); do bench_cpu "$pid"; echo; done | awk '{ sum += $1 } END { printf "%.2f", sum }'
}

# cold_start IMAGE MODE: one sample.
cold_start() {
  local image=$1 mode=$2 t0 t1 mark pull_s run_s warm_s cpu_before cpu_s bytes requests
  lab_cold dedup "$(mode_config "$mode" "$image")"
  [ "$(ctr content ls -q | wc -l) $(dedupd_number .fetch.bytes)" = "0 0" ] || die "the node is not cold"
  mark=$(registry_mark)
  cpu_before=$(dedupd_cpu)

  t0=$EPOCHREALTIME
  pull "$image"
  pull_s=$(seconds_since "$t0")
  t1=$EPOCHREALTIME
  run_until_ready "$image" cold
  run_s=$(seconds_since "$t1")
  cpu_s=$(dedupd_cpu)
  bytes=$(registry_bytes "$mark")
  requests=$(registry_requests "$mark")
  run_end

  t1=$EPOCHREALTIME
  run_until_ready "$image" warm
  warm_s=$(seconds_since "$t1")
  run_end
  jq -nc --arg image "$image" --arg mode "$mode" --arg began "$t0" --arg door "$(dedupd_number .door)" \
    --argjson n "[$pull_s, $run_s, $warm_s, $bytes, $requests, $cpu_before, $cpu_s, $(dedupd_number .memory.peak_rss_bytes)]" \
    '{image: $image, mode: $mode, began: ($began | tonumber), door: $door, pull_s: $n[0], run_s: $n[1], total_s: ($n[0] + $n[1]), warm_s: $n[2],
      bytes: $n[3], requests: $n[4], cpu_s: ($n[6] - $n[5]), peak_bytes: $n[7]}' >>"$LAB/samples"
  say "round $round: $image, $mode: pull $pull_s s, run $run_s s, again $warm_s s; $bytes bytes, $requests requests"
}

# watch IMAGE MODE: one more cold start, recorded.
watch() {
  local image=$1 mode=$2 traces=$LAB/watched/$1-$2 known
  mkdir -p "$traces"
  case $mode in
    profile) cp -r "$LAB/traces/$image/." "$traces" ;;
    wrong) cp -r "$LAB/traces/$image-wrong/." "$traces" ;;
  esac
  lab_cold dedup "$(mode_config "$mode" "$image") | .trace.auto_starts = 16 | .prefetch.trace_dir = \"$traces\""
  known=$(find "$traces" -name 'start-*' | wc -l)
  pull "$image"
  run_until_ready "$image" watched
  run_end
  another_start() { [ "$(find "$traces" -name 'start-*' | wc -l)" -gt "$known" ]; }
  wait_until 60 another_start || die "the start of $image was not recorded"
  dedupctl profile show "$(find "$traces" -name 'start-*' | sort | tail -n 1)" --json |
    jq -c --arg image "$image" --arg mode "$mode" '{image: $image, mode: $mode, touched: .trace.touched}' >>"$LAB/watched.json"
}

rows() {
  jq -s --slurpfile watched "$LAB/watched.json" --argjson rtt_ms "$RTT_MS" --argjson mbit "$MBIT" "$BENCH_JQ"'
    def median(f): map(f) | at(0.5);
    group_by(.image) | map(
      (map(select(.mode == "lazy")) | {bytes: median(.bytes), total_s: median(.total_s)}) as $lazy
      | group_by(.mode) | map(
        (4 * $rtt_ms / 1000 + (if $mbit > 0 then median(.bytes) * 8 / 1e6 / $mbit else 0 end) + median(.warm_s)) as $floor
        | {image: .[0].image, mode: .[0].mode, runs: length, pull_s: median(.pull_s), run_s: median(.run_s), total_s: median(.total_s),
           p95_s: (map(.total_s) | at(0.95)), warm_s: median(.warm_s), floor_s: $floor, of_floor: (median(.total_s) / $floor),
           mb: (median(.bytes) / 1e6), requests: median(.requests), cpu_s: median(.cpu_s),
           faster: ($lazy.total_s / median(.total_s)), bytes_of_lazy: (median(.bytes) / $lazy.bytes)}
        | . as $row | ($watched[] | select(.image == $row.image and .mode == $row.mode).touched) as $touched
        | ($touched | add) as $all
        | . + {touched: $all, miss_pct: ($touched.miss * 100 / $all), late_pct: ($touched.late * 100 / $all)}
        | map_values(if type == "number" then digits(2) else . end))) | flatten | sort_by(.image)' "$LAB/samples"
}

require_root
require_programs containerd ctr-remote docker-registry skopeo jq
[ -x "$BUILD/tests/bench/slow_link" ] || die "no $BUILD/tests/bench/slow_link: build the target slow_link"
# Not in a lab of ours: it opens its own.
read -ra images <<<"$IMAGES"
mapfile -t layouts < <("$REPO/scripts/demo-image.sh" "${images[@]}")
lab_open
registry_start
link_start
for layout in "${layouts[@]}"; do image_push "$layout/estargz" "$REGISTRY/$(basename "${layout%-*}"):lazy"; done
mkdir "$LAB/mnt"
modes_prepare "${images[@]}"
for ((round = 1; round <= RUNS; ++round)); do
  for image in "${images[@]}"; do
    for mode in $MODES; do cold_start "$image" "$mode"; done
  done
done
for image in "${images[@]}"; do
  for mode in $MODES; do watch "$image" "$mode"; done
done
dedupd_wipe
bench_result "$(rows)" "$(jq -s --argjson rtt_ms "$RTT_MS" --argjson mbit "$MBIT" --arg containerd "$(containerd --version | cut -d' ' -f3)" \
  --arg runc "$(runc --version | sed -n 's/^runc version //p')" \
  '{link: {rtt_ms: $rtt_ms, mbit: $mbit}, versions: {containerd: $containerd, runc: $runc}, samples: .}' "$LAB/samples")"
