#!/bin/bash
# What recording costs: starts of a container whose image is in the pool and in the page cache, with and without `dedupctl trace
# start`, in turns; and what the kernel says the recorder's programs took in the recorded starts.
#   run.sh [--images "NAME..."] [--runs N] [--quick] [--force] [--out DIR] [--json FILE] [BUILD]
#     --images  folders of scripts/images (pyapp nginx)
#     --runs    pairs of starts of each image (15)
#     --quick   demo image, 3 pairs
#     BUILD     build folder (build/release)
# Columns: off_s and on_s, from `ctr run` to the first line of output, medians; cpu_off_s and cpu_on_s, processor time of the container
# until then, medians; daemon_off_s and daemon_on_s, that of dedupd. slower_pct: mean of the differences of the pairs' times; slower_se: its standard error (what is less than
# twice that is noise); cpu_pct and cpu_se: the same of processor time. events, event_ns: calls of the recorder's tracepoint programs,
# by whatever process, in one recorded start, and time of one, as bpf_stats_enabled counts them; event_pct: all of them in per cent
# of cpu_off_s. dropped: touches lost.
set -euo pipefail
REPO=$(cd "$(dirname "$0")/../../.." && pwd)
for piece in say check lab containerd registry image-build image-convert dedupd cold bench; do . "$REPO/scripts/lib/$piece.sh"; done
IMAGES='pyapp nginx' RUNS=15
BENCH_OPTIONS=([--images]=IMAGES [--runs]=RUNS) BENCH_QUICK=([IMAGES]=demo [RUNS]=3)
bench_options "$@"

# programs_json: calls and nanoseconds of the tracepoint programs of this lab's dedupd.
programs_json() {
  local ids
  ids=$(sed -n 's/^prog_id:[[:space:]]*//p' "/proc/$(pgrep -P "${LAB_PIDS[dedupd]}" --newest)"/fdinfo/* 2>/dev/null | sort -u | jq -sc .)
  bpftool prog show --json | jq -c --argjson ids "$ids" \
    '[.[] | select(.type == "tracing" and (.id | IN($ids[])))] | {runs: (map(.run_cnt // 0) | add), ns: (map(.run_time_ns // 0) | add)}'
}

# stats_on: the kernel counts the time of BPF programs until the lab ends.
stats_on() {
  # shellcheck disable=SC2016 # expanded by that shell
  lab_spawn stats bash -c 'was=$(sysctl -n kernel.bpf_stats_enabled); trap "sysctl -q kernel.bpf_stats_enabled=$was; kill \$!; exit" TERM
    sysctl -q kernel.bpf_stats_enabled=1; while :; do sleep 600 & wait $!; done'
  lab_ready stats 5 grep -q 1 /proc/sys/kernel/bpf_stats_enabled
}

# start_once IMAGE SIDE: one sample. The container's processor time is that of its cgroup.
start_once() {
  local image=$1 side=$2 id=$2-${LAB##*.} line t0 seconds pid cpu daemon before after
  before=$(programs_json) daemon=$(dedupd_cpu_ns)
  t0=$EPOCHREALTIME
  exec 3< <(exec ctr run --rm --snapshotter dedup "$REGISTRY/$image:lazy" "$id" 2>>"$LAB/log/run.log" </dev/null)
  pid=$!
  read -r line <&3 || die "no output from $image: $(tail -n 3 "$LAB/log/run.log")"
  seconds=$(seconds_since "$t0")
  cpu=$(container_cpu_ns "$id") daemon=$(($(dedupd_cpu_ns) - daemon))
  wait_until 10 lab_gone "$pid" || lab_stop_containers
  exec 3<&-
  after=$(programs_json)
  jq -nc --arg image "$image" --arg side "$side" --argjson seconds "$seconds" --argjson cpu "$cpu" --argjson daemon "$daemon" --argjson before "$before" --argjson after "$after" \
    '{image: $image, side: $side, seconds: $seconds, cpu_s: ($cpu / 1e9), daemon_s: ($daemon / 1e9), events: ($after.runs - $before.runs),
      ns: ($after.ns - $before.ns)}' >>"$LAB/samples"
}

# container_cpu_ns ID: cgroup v1, else v2; 0 when it has ended.
container_cpu_ns() {
  local v1=/sys/fs/cgroup/cpuacct/$CONTAINERD_NAMESPACE/$1/cpuacct.usage v2=/sys/fs/cgroup/$CONTAINERD_NAMESPACE/$1/cpu.stat
  cat "$v1" 2>/dev/null || awk '/^usage_usec/ { print $2 * 1000; found = 1 } END { if (!found) print 0 }' "$v2" 2>/dev/null || echo 0
}

# attached BOOL: whether the kernel runs the recorder's programs. It is attached and detached a moment after what asks for it.
attached() { [ "$(dedupctl trace list --json | jq .recorder.attached)" = "$1" ]; }

# dedupd_cpu_ns: of the service and its processes, until now.
dedupd_cpu_ns() {
  local pid
  for pid in "${LAB_PIDS[dedupd]}" $(pgrep -P "${LAB_PIDS[dedupd]}"); do cat "/proc/$pid"/task/*/schedstat; done | awk '{ sum += $1 } END { printf "%.0f", sum }'
}

recorded_start() {
  dedupctl trace start "$REGISTRY/$1:lazy" >/dev/null
  wait_until 10 attached true || die 'the recorder is not attached'
  start_once "$1" on
  dedupctl trace stop "$REGISTRY/$1:lazy" >/dev/null
  wait_until 10 attached false || die 'the recorder stays attached'
}

measure() {
  local image=$1 pair
  ctr-remote images rpull --plain-http --snapshotter dedup "$REGISTRY/$image:lazy" >>"$LAB/log/pull.log" 2>&1
  # Twice: the first fetches, the second maps what the first had read only.
  recorded_start "$image"
  start_once "$image" off
  grep -v "\"image\":\"$image\"" "$LAB/samples" >"$LAB/samples.new" || true
  mv "$LAB/samples.new" "$LAB/samples"
  for ((pair = 1; pair <= RUNS; ++pair)); do
    # Whoever is first has the colder CPU: each side is, every other time.
    if ((pair % 2)); then start_once "$image" off; recorded_start "$image"; else recorded_start "$image"; start_once "$image" off; fi
  done
}

require_root
require_programs containerd ctr-remote docker-registry skopeo jq bpftool
read -ra images <<<"$IMAGES"
mapfile -t layouts < <("$REPO/scripts/demo-image.sh" "${images[@]}")
lab_open
registry_start
for i in "${!images[@]}"; do image_push "${layouts[i]}/estargz" "$REGISTRY/${images[i]}:lazy"; done
lab_cold dedup '.trace.auto_starts = 0'
usable() { [ "$(dedupctl trace list --json | jq .recorder.usable)" = true ]; }
wait_until 10 usable || { say "skipped: $(dedupctl trace list --json | jq -r .recorder.reason)"; exit 77; }
stats_on
for image in "${images[@]}"; do measure "$image"; done
dropped=$(dedupctl trace list --json | jq .recorder.dropped)
dedupd_wipe

rows=$(jq -s --argjson dropped "$dropped" "$BENCH_JQ"'
  def median(f): map(f) | at(0.5);
  def mean: add / length;
  # Of pairs: mean difference in per cent of `off`, and its standard error.
  def pairs($off; $on; f): [range($off | length) | ($on[.] | f) - ($off[.] | f)] as $all | ([$off[] | f] | mean) as $of | ($all | mean) as $mean
    | {pct: (100 * $mean / ([$of, 1e-9] | max)),
       se: (100 * (([$all[] | . - $mean | . * .] | add) / ([($all | length) - 1, 1] | max) / ($all | length) | sqrt) / ([$of, 1e-9] | max))};
  group_by(.image) | map((map(select(.side == "off"))) as $off | (map(select(.side == "on"))) as $on
    | {image: .[0].image, runs: ($on | length), off_s: ($off | median(.seconds)), on_s: ($on | median(.seconds)),
       cpu_off_s: ($off | median(.cpu_s)), cpu_on_s: ($on | median(.cpu_s)),
       daemon_off_s: ($off | median(.daemon_s)), daemon_on_s: ($on | median(.daemon_s)),
       events: ($on | median(.events)), event_ns: (($on | map(.ns) | add) / ([($on | map(.events) | add), 1] | max))}
    | pairs($off; $on; .seconds) as $time | pairs($off; $on; .cpu_s) as $cpu
    | . + {slower_pct: $time.pct, slower_se: $time.se, cpu_pct: $cpu.pct, cpu_se: $cpu.se,
       event_pct: (.events * .event_ns / 1e7 / ([.cpu_off_s, 1e-9] | max)), dropped: $dropped}
    | map_values(if type == "number" then digits(3) else . end))' "$LAB/samples")
bench_result "$rows" "$(jq -s '{samples: .}' "$LAB/samples")" '{"title": "Container start, recorded and not", "kind": "bars", "x": "image", "y": ["off_s", "on_s"]}'
