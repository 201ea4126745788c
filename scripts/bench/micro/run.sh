#!/bin/bash
# The daemon's own functions, one by one, on made-up layers (tests/bench/micro, Google Benchmark).
#   run.sh [--runs N] [--seconds S] [--filter REGEX] [--quick] [--out DIR] [--json FILE] [--force] [BUILD]
#     --runs     repetitions of each, in random order (5)
#     --seconds  each lasts at least so long (0.5)
#     --filter   those whose name matches
#     --quick    two short repetitions
#     BUILD      build folder (build/release)
# Columns: clock says which time is meant: cpu, of the one thread at work; wall where several threads or the disk take part. p50 and
# p95 over the repetitions, of one call; mib_s and items_s (files of a layer, questions, round trips) are medians.
set -euo pipefail
REPO=$(cd "$(dirname "$0")/../../.." && pwd)
for piece in say bench; do . "$REPO/scripts/lib/$piece.sh"; done
RUNS=5 SECONDS_EACH=0.5 FILTER=.
BENCH_OPTIONS=([--runs]=RUNS [--seconds]=SECONDS_EACH [--filter]=FILTER)
BENCH_QUICK=([RUNS]=2 [SECONDS_EACH]=0.05)
bench_options "$@"
program=$BUILD/tests/bench/micro
[ -x "$program" ] || die "no $program: build the target micro"

report=$(mktemp)
trap 'rm -f "$report"' EXIT
"$program" --benchmark_repetitions="$RUNS" --benchmark_min_time="$SECONDS_EACH" --benchmark_filter="$FILTER" \
  --benchmark_enable_random_interleaving=true --benchmark_display_aggregates_only=true \
  --benchmark_out="$report" --benchmark_out_format=json >&2

rows=$(jq "$BENCH_JQ"'
  {ns: 0.001, us: 1, ms: 1e3, s: 1e6} as $us
  | def time: (if .name | test("real_time") then .real_time else .cpu_time end) * $us[.time_unit];
  [.benchmarks[] | select(.run_type == "iteration")] | if any(.error_occurred) then error("a benchmark failed") else . end
  | group_by(.family_index, .per_family_instance_index) | map(
      (.[0].name | sub("/(process_time/)?real_time$"; "") | split("/")) as $name
      | ($name[-1] | tonumber? // null) as $size
      | (sort_by(time) | .[((length - 1) * 0.5 | round)]) as $median
      | {function: (if $size then $name[:-1] else $name end | join(" ")), size: $size,
         clock: (if .[0].name | test("real_time") then "wall" else "cpu" end), runs: length,
         p50_us: ($median | time | digits(2)), p95_us: (map(time) | at(0.95) | digits(2)),
         mib_s: ($median.bytes_per_second // null | if . then . / 1048576 | round else . end),
         items_s: ($median.items_per_second // null | if . then round else . end)})' "$report")
bench_result "$rows" '{"link": "none"}' '[
  {"title": "Throughput of one core", "kind": "bars", "x": "function", "y": "mib_s", "logy": true,
   "where": {"clock": "cpu", "size": [null, 4194304], "function": ["digest", "verify_chunk", "inflate gzip", "inflate zstd", "tar_parse",
     "tar_index", "toc_inflate", "toc_json", "toc_parse", "erofs_write"]}, "ylabel": "MiB/s of uncompressed bytes, logarithmic"},
  {"title": "One question to the index of the pool", "kind": "lines", "x": "size", "y": "p50_us", "group": "function",
   "where": {"function": ["find_chunk present", "find_chunk absent"]}, "logx": true, "xlabel": "chunks in the pool", "ylabel": "µs"}]'
