#!/bin/bash
# Installs what is missing, builds, and runs every test. Prints a line per step and, last, the sum.
set -uo pipefail
REPO=$(cd "$(dirname "$0")/.." && pwd)
cd "$REPO" || exit 1
. scripts/lib/say.sh
FUZZ_SECONDS=${FUZZ_SECONDS:-60}
stages=(setup style build unit fuzz suite doors e2e kernels)
all_kernels=

usage() {
  cat <<EOF
usage: test.sh [--only STAGE]... [--kernels]     (as root, on Debian 12)

Stages, in order:
  setup   install packages            style   clang-format, shellcheck, include order
  build   release, dev (ASan+UBSan), fuzz
  unit    unit, kernel and command-line tests under the sanitizers
  fuzz    every fuzz target for \$FUZZ_SECONDS (60) seconds
  suite   containerd's snapshotter suite
  doors   the conformance suite of the doors, for every door that works here, on ext4, xfs and btrfs
  e2e     tests/e2e/*.sh and the quickstart: real containerd, registry, mounts; some once more behind the FUSE door, all of
          them behind \$DEDUPD_DOOR when it is set; the benchmarks once, small, to see that they work
  kernels tests/vm/*.sh in emulated machines: our build of 6.1 with fscache on demand, which takes some minutes when it is not
          in the cache; with --kernels the long ones in it, too, and Debian's own 6.1 and newer ones that apt offers
Logs lie in build/test-logs. Exit status 0: nothing failed. A test whose kernel feature is absent is skipped by name.
EOF
}

only=()
while [ $# -gt 0 ]; do
  case $1 in
    --only) only+=("${2:?--only needs a stage}"); shift 2 ;;
    --kernels) all_kernels=1; shift ;;
    -h | --help) usage; exit ;;
    *) usage >&2; exit 2 ;;
  esac
done
[ ${#only[@]} -gt 0 ] || only=("${stages[@]}")

passed=0 failed=0 skipped=0
logs=$REPO/build/test-logs
mkdir -p "$logs"

# step NAME COMMAND...: runs it with its output in a log; 0 passed, 77 skipped (the last line says why), else failed.
step() {
  local name=$1 log status=0 t0=$EPOCHREALTIME
  log=$logs/${name//[ \/]/-}.log
  shift
  "$@" >"$log" 2>&1 </dev/null || status=$?
  case $status in
    0) passed=$((passed + 1)); printf 'ok    %-28s %7.1f s   %s\n' "$name" "$(seconds_since "$t0")" "$(tail -n 1 "$log" | cut -c1-110)" ;;
    77) skipped=$((skipped + 1)); printf 'SKIP  %-28s %7.1f s   %s\n' "$name" "$(seconds_since "$t0")" "$(tail -n 1 "$log")" ;;
    *) failed=$((failed + 1)); printf 'FAIL  %-28s %7.1f s   status %s, log %s\n' "$name" "$(seconds_since "$t0")" "$status" "$log"; tail -n 40 "$log" ;;
  esac
  return "$status"
}

stage_setup() { step setup scripts/setup.sh; }

check_format() { git ls-files '*.cc' '*.h' | xargs clang-format-14 --dry-run -Werror; }
check_shell() { git ls-files '*.sh' .ci/run | xargs shellcheck; }
stage_style() {
  step format check_format
  step shell check_shell
  step includes scripts/check-includes.sh
}

build() { cmake --preset "$1" && cmake --build --preset "$1" "${@:2}"; }
stage_build() {
  step "build release" build release --target dedupd dedupctl dedup-snapshotter dedup-kcheck volatile_disk forget_sync verify_rate slow_link walk_rate micro dedup_oracle || return
  step "build dev" build dev || return
  step "build fuzz" build fuzz
}

# ctest counts its own tests; each counts here, too.
stage_unit() {
  local log=$logs/unit.log t0=$EPOCHREALTIME total bad not_run
  ctest --test-dir build/dev --output-on-failure --timeout 300 >"$log" 2>&1 </dev/null
  total=$(sed -nE 's/.* tests failed out of ([0-9]+)/\1/p' "$log")
  bad=$(sed -nE 's/.* ([0-9]+) tests failed out of .*/\1/p' "$log")
  not_run=$(grep -c '(Skipped)' "$log")
  if [ -z "$total" ]; then
    failed=$((failed + 1))
    printf 'FAIL  unit: ctest did not run\n'
    tail -n 20 "$log"
    return
  fi
  grep '(Skipped)' "$log" | sort -u
  passed=$((passed + total - bad - not_run)) failed=$((failed + bad)) skipped=$((skipped + not_run))
  printf '%-5s %-28s %7.1f s   %s of %s\n' "$([ "$bad" = 0 ] && echo ok || echo FAIL)" unit "$(seconds_since "$t0")" $((total - bad)) "$total"
  [ "$bad" = 0 ] || { sed -n '/The following tests FAILED/,$p' "$log"; grep -E '^\[  FAILED|error:|ERROR:' "$log" | head -n 40; }
}

fuzz_one() {
  local target=$1 seeds=build/fuzz-corpus/$1
  mkdir -p "$seeds" build/fuzz-findings
  "build/fuzz/tests/fuzz/$target" -max_total_time="$FUZZ_SECONDS" -rss_limit_mb=2048 -artifact_prefix=build/fuzz-findings/ "$seeds"
}
stage_fuzz() {
  local target targets=() pair
  for target in build/fuzz/tests/fuzz/fuzz_*; do [ ! -f "$target" ] || [ ! -x "$target" ] || targets+=("$(basename "$target")"); done
  [ ${#targets[@]} -gt 0 ] || { step fuzz false; return; }
  step "fuzz seeds" tests/fuzz/make-seeds.sh build/fuzz-corpus || return
  # Two at a time, one per core of a small machine; results come in order.
  for ((pair = 0; pair < ${#targets[@]}; pair += 2)); do
    local pids=() names=("${targets[@]:pair:2}") name
    for name in "${names[@]}"; do fuzz_one "$name" >"$logs/$name.run" 2>&1 </dev/null & pids+=($!); done
    for name in "${names[@]}"; do
      step "$name" fuzz_result "${pids[0]}" "$logs/$name.run"
      pids=("${pids[@]:1}")
    done
  done
}
fuzz_result() {
  local status=0
  tail --pid="$1" -f /dev/null
  wait "$1" || status=$?
  cat "$2"
  return "$status"
}

stage_suite() { step "containerd suite" tests/conformance/containerd-suite/run.sh build/release; }

stage_doors() { step "door conformance" tests/conformance/doors/run.sh build/release; }

# What depends on the door and takes little time, behind the door that serves where the better ones are missing, too.
e2e_of_fuse() {
  local fuse=(env DEDUPD_DOOR=fuse)
  [ -z "${DEDUPD_DOOR:-}" ] && build/release/kmod-tools/dedup-kcheck --json | jq -e '.doors[] | select(.name == "fuse").works' >/dev/null || return 0
  step "fault-storms, fuse" "${fuse[@]}" STORMS="stops source disk descriptors memory" tests/e2e/fault-storms.sh
  step "keeper-kills, fuse" "${fuse[@]}" KILLS=8 tests/e2e/keeper-kills.sh
  step "lazy, fuse" "${fuse[@]}" tests/e2e/lazy.sh
  step "metadata-20k, fuse" "${fuse[@]}" tests/e2e/metadata-20k.sh
}
stage_e2e() {
  local script
  export BUILD=$REPO/build/release
  for script in tests/e2e/*.sh; do [ ! -x "$script" ] || step "$(basename "$script" .sh)" "$script"; done
  e2e_of_fuse
  step benchmarks scripts/bench/run.sh --quick --force --out "$logs/bench"
  step "page of benchmarks" scripts/bench/report.sh --output "$logs/benchmarks.md" "$logs/bench"
  step quickstart scripts/quickstart.sh --json "$logs/quickstart.json" && tail -n 8 "$logs/quickstart.log"
}

# in_guest SUITE KERNEL: the suite's own steps are in its log.
in_guest() {
  timeout 5500 kmod-tools/test-kernel/vm.sh --kernel "$2" -t 5400 -- env ALL="$all_kernels" "$PWD/tests/vm/$1.sh" "$REPO/build/dev/tests" "$REPO/build/release"
}
stage_kernels() {
  step "kernel for on demand" kmod-tools/test-kernel/build.sh
  step "guest 6.1 ondemand" in_guest ondemand ondemand && grep -E '^(ok|SKIP)' "$logs/guest-6.1-ondemand.log"
  [ -z "$all_kernels" ] || for series in 6.1 6.12; do
    step "guest $series stock" in_guest stock "stock-$series" && grep -E '^(ok|SKIP)' "$logs/guest-$series-stock.log"
  done
}

for stage in "${stages[@]}"; do
  [[ " ${only[*]} " != *" $stage "* ]] || "stage_$stage" || [ "$failed" = 0 ] || [[ $stage != @(setup|build) ]] || break
done
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
