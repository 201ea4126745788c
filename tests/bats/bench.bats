#!/usr/bin/env bats
# What all benchmarks share: they refuse to measure a busy machine, and write one result four ways.

setup() {
  export REPO
  REPO=$(cd "$BATS_TEST_DIRNAME/../.." && pwd)
  OUT=$BATS_TEST_TMPDIR/out
  mkdir "$BATS_TEST_TMPDIR/sample"
  cat >"$BATS_TEST_TMPDIR/sample/run.sh" <<'EOF'
#!/bin/bash
# One small benchmark.
#   run.sh [--runs N]
set -euo pipefail
. "$REPO/scripts/lib/say.sh"
. "$REPO/scripts/lib/bench.sh"
RUNS=5 SIZE=100
BENCH_OPTIONS=([--runs]=RUNS [--size]=SIZE)
BENCH_QUICK=([RUNS]=1 [SIZE]=10)
bench_options "$@"
rows=$(jq -n --argjson runs "$RUNS" --argjson size "$SIZE" '[{side: "a, \"quoted\"", runs: $runs, s: 1.5, floor_s: 1},
  {side: "b", runs: $size, s: null, floor_s: 0.5}]')
bench_result "$rows" '{"link": "none"}' '[{"title": "Sides", "kind": "bars", "x": "side", "y": "s", "floor": "floor_s"},
  {"title": "Growth", "kind": "lines", "x": "runs", "y": ["s", "floor_s"], "logx": true}]'
EOF
  chmod +x "$BATS_TEST_TMPDIR/sample/run.sh"
}

sample() { "$BATS_TEST_TMPDIR/sample/run.sh" "$@"; }

@test "a busy machine is refused, and named who makes it busy" {
  local hogs=() refused status_refused
  # Before whatever else runs here.
  for _ in $(seq "$(nproc)"); do
    nice -n -15 sha256sum /dev/zero 3>&- &
    hogs+=($!)
  done
  run sample
  refused=$output status_refused=$status
  run sample --force --out "$OUT"
  kill "${hogs[@]}"
  [ "$status_refused" -eq 1 ]
  [[ "$refused" == *"the machine is busy: "*"sha256sum (pid "*"--force"* ]]
  [ "$status" -eq 0 ]
  jq -e '.machine | .forced and .idle_percent < 50' "$OUT/sample.json"
}

@test "a result is a table, JSON, CSV and one picture for each plot" {
  run sample --force --quick --runs 3 --out "$OUT"
  [ "$status" -eq 0 ]
  [[ "$output" == *side*runs*floor_s* ]]
  cd "$OUT"
  [ "$(ls)" = $'sample-1.svg\nsample-2.svg\nsample.csv\nsample.json' ]
  jq -e '.benchmark == "sample" and .quick and .link == "none" and (.machine | .kernel and .commit and .runc and .containerd)' sample.json
  # What is given beats what --quick sets.
  jq -e '.rows[0].runs == 3 and .rows[1].runs == 10' sample.json
  [ "$(sed -n 2p sample.csv)" = '"a, ""quoted""",3,1.5,1' ]
  [ "$(sed -n 3p sample.csv)" = '"b",10,,0.5' ]
  for text in Sides 'a, "quoted"' 'no number' floor_s; do grep -q ">$text</text>" sample-1.svg; done
  grep -q '>Growth</text>' sample-2.svg
}

@test "a plot of a column that is not there, or of rows that hide each other, is an error" {
  echo '{"rows": [{"a": 1}], "plots": [{"title": "t", "kind": "bars", "x": "a", "y": "b"}]}' >"$BATS_TEST_TMPDIR/bad.json"
  run "$REPO/scripts/bench/plot.py" "$BATS_TEST_TMPDIR/bad.json"
  [ "$status" -eq 1 ]
  [[ "$output" == *"no column b"* ]]
  echo '{"rows": [{"a": 1, "b": 1}, {"a": 1, "b": 2}], "plots": [{"title": "t", "kind": "bars", "x": "a", "y": "b"}]}' >"$BATS_TEST_TMPDIR/bad.json"
  run "$REPO/scripts/bench/plot.py" "$BATS_TEST_TMPDIR/bad.json"
  [ "$status" -eq 1 ]
  [[ "$output" == *"more than one row for 1"* ]]
}

@test "the page has every table and plot, and says of which results" {
  sample --force --quick --out "$OUT"
  run "$REPO/scripts/bench/report.sh" --output "$BATS_TEST_TMPDIR/page.md" "$OUT"
  [ "$status" -eq 0 ]
  cd "$BATS_TEST_TMPDIR"
  [ "$(ls page)" = $'sample-1.svg\nsample-2.svg' ]
  for line in '# Benchmarks' '## sample' '| side | runs | s | floor_s |' '| b | 10 |  | 0.5 |' '![Sides](page/sample-1.svg)' \
    '![Growth](page/sample-2.svg)'; do grep -qxF "$line" page.md; done
  head -n 1 page.md | grep -qF 'Written by scripts/bench/report.sh'
  grep -q 'a quick run, whose numbers say little' page.md
  grep -q "^- sample: .*; Linux $(uname -r), containerd .*; commit " page.md
}

@test "a page of no results is an error" {
  mkdir "$OUT"
  run "$REPO/scripts/bench/report.sh" --output "$BATS_TEST_TMPDIR/page.md" "$OUT"
  [ "$status" -eq 1 ]
  [[ "$output" == *"no results in $OUT"* ]]
  [ ! -e "$BATS_TEST_TMPDIR/page.md" ]
}

# In a copy: what run.sh finds there are these three.
@test "the runner goes on after a benchmark that fails, and says so" {
  local scripts=$BATS_TEST_TMPDIR/repo/scripts
  mkdir -p "$scripts/bench/bad" "$scripts/bench/good" "$scripts/bench/without" "$scripts/lib"
  cp "$REPO/scripts/bench/run.sh" "$scripts/bench/"
  cp "$REPO/scripts/lib/say.sh" "$scripts/lib/"
  printf '#!/bin/sh\necho broken >&2\nexit 3\n' >"$scripts/bench/bad/run.sh"
  printf '#!/bin/sh\n[ "$1" != --help ] || exec echo "--runs N"\necho "$@" >>"%s"\n' "$BATS_TEST_TMPDIR/calls" >"$scripts/bench/good/run.sh"
  printf '#!/bin/sh\n[ "$1" != --help ] || exec echo "nothing"\necho "$@" >>"%s"\n' "$BATS_TEST_TMPDIR/calls" >"$scripts/bench/without/run.sh"
  chmod +x "$scripts"/bench/*/run.sh
  run "$scripts/bench/run.sh" --quick --runs 2 --out "$OUT"
  [ "$status" -eq 1 ]
  [ "${lines[-1]}" = "failed: bad" ]
  [[ "$output" == *"bad"*"FAILED, status 3: broken"* ]]
  # Only those that have rounds are told how many.
  [ "$(cat "$BATS_TEST_TMPDIR/calls")" = "--quick --out $OUT --runs 2"$'\n'"--quick --out $OUT" ]
  run "$scripts/bench/run.sh" --only good --out "$OUT"
  [ "$status" -eq 0 ]
  run "$scripts/bench/run.sh" --only absent
  [ "$status" -eq 1 ]
  [[ "$output" == *"no benchmark absent; there are: bad good without"* ]]
}
