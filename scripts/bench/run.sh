#!/bin/bash
# Runs the benchmarks of this folder one after the other; each leaves its table, JSON, CSV, plots and log in one folder.
#   run.sh [--only NAME]... [--runs N] [--quick] [--out DIR] [--force] [--list] [BUILD]
#     --only   this one; may be given several times
#     --runs   rounds of each (what it takes by itself)
#     --quick  few rounds of small things, to see that all work; its numbers say little
#     --out    folder of the results (build/bench; with --quick build/bench-quick); what other benchmarks left there stays
#     --force  on a busy machine, too
#     --list   prints the names and does nothing
#     BUILD    build folder (build/release), see README.md
# Goes on when one fails; the exit status is 1 then, and the last line names it.
set -uo pipefail
REPO=$(cd "$(dirname "$0")/../.." && pwd)
. "$REPO/scripts/lib/say.sh"
# First what everything else rests on, last what kills processes. What is not named here comes between.
FIRST='micro coldstart images fullpull readpath coldfill dedup' LAST='scale recovery'

# benchmarks: names, in the order in which they run.
benchmarks() {
  local name known=" $FIRST $LAST " others=()
  for name in "$REPO"/scripts/bench/*/run.sh; do
    name=$(basename "$(dirname "$name")")
    [[ $known == *" $name "* ]] || others+=("$name")
  done
  for name in $FIRST "${others[@]}" $LAST; do [ ! -x "$REPO/scripts/bench/$name/run.sh" ] || echo "$name"; done
}

only=() options=() runs='' out='' build=()
while [ $# -gt 0 ]; do
  case $1 in
    --only) only+=("${2:?--only needs a name}"); shift ;;
    --runs) runs=${2:?--runs needs a number}; shift ;;
    --out) out=${2:?--out needs a folder}; shift ;;
    --quick) options+=(--quick); out=${out:-$REPO/build/bench-quick} ;;
    --force) options+=(--force) ;;
    --list) benchmarks; exit ;;
    -h | --help) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; exit ;;
    -*) die "unknown option $1" ;;
    *) build=("$1") ;;
  esac
  shift
done
mapfile -t all < <(benchmarks)
[ ${#only[@]} -gt 0 ] || only=("${all[@]}")
for name in "${only[@]}"; do [[ " ${all[*]} " == *" $name "* ]] || die "no benchmark $name; there are: ${all[*]}"; done
out=$(realpath -m "${out:-$REPO/build/bench}")
mkdir -p "$out" || exit 1

# run_one NAME: its messages go to its log, and to a terminal; its table to both.
run_one() {
  local script=$REPO/scripts/bench/$1/run.sh log=$out/$1.log arguments=("${options[@]}" --out "$out" "${build[@]}")
  [ -z "$runs" ] || ! "$script" --help | grep -e --runs >/dev/null || arguments+=(--runs "$runs")
  if [ -t 2 ]; then
    "$script" "${arguments[@]}" 2> >(tee "$log" >&2) | tee "$out/$1.txt"
  else
    "$script" "${arguments[@]}" 2>"$log" | tee "$out/$1.txt"
  fi
}

# Benchmarks clean up and end by themselves when interrupted; without this the next one would begin.
trap 'exit 130' INT
summary='' failed=() began=$EPOCHREALTIME
for ((index = 0; index < ${#only[@]}; ++index)); do
  name=${only[index]} t0=$EPOCHREALTIME status=0
  printf '\n[%d/%d] %s\n' $((index + 1)) ${#only[@]} "$name"
  run_one "$name" || status=$?
  case $status in
    0) verdict=ok ;;
    77) verdict="skipped: $(tail -n 1 "$out/$name.log")" ;;
    *) verdict="FAILED, status $status: $(tail -n 1 "$out/$name.log")" failed+=("$name") ;;
  esac
  summary+=$(printf '%-12s %8.1f s  %s' "$name" "$(seconds_since "$t0")" "$verdict")$'\n'
done
printf '\n%s' "$summary"
printf 'all          %8.1f s  results in %s\n' "$(seconds_since "$began")" "$out"
[ ${#failed[@]} = 0 ] || { echo "failed: ${failed[*]}"; exit 1; }
