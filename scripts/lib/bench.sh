# What the benchmarks share: options, a look at how busy the machine is, percentiles, the machine's description, results as table,
# JSON, CSV and plots. Needs say.sh.

JSON='' OUT='' DOORS='' QUICK='' FORCE='' BUILD=$REPO/build/release
# Of the folder, unless the script of another one runs this one.
BENCH=${BENCH:-$(basename "$(dirname "$(realpath "$0")")")}
# Options of one script: name with dashes -> variable that takes the value. And variables -> values that --quick gives them.
declare -A BENCH_OPTIONS=() BENCH_QUICK=()
# CPU that nobody else uses; below it numbers would be those of other programs.
readonly BENCH_MIN_IDLE_PERCENT=80
BENCH_IDLE_PERCENT=null

# bench_options ARG...: --json FILE, --out DIR, --doors "NAME...", --quick, --force, those in BENCH_OPTIONS, and the build folder.
# --help prints the comment at the script's head. Ends the script when the machine is busy and nothing forces it.
bench_options() {
  local name
  [[ " $* " != *" --quick "* ]] || for name in "${!BENCH_QUICK[@]}"; do printf -v "$name" %s "${BENCH_QUICK[$name]}"; done
  while [ $# -gt 0 ]; do
    case $1 in
      --json) JSON=$(realpath -m "${2:?--json needs a file}"); shift ;;
      --out) OUT=$(realpath -m "${2:?--out needs a folder}"); shift ;;
      --doors) DOORS=${2:?--doors needs names}; shift ;;
      --quick) QUICK=1 ;;
      --force) FORCE=1 ;;
      -h | --help) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; exit ;;
      -*)
        [ -n "${BENCH_OPTIONS[$1]:-}" ] || die "unknown option $1"
        printf -v "${BENCH_OPTIONS[$1]}" %s "${2:?"$1 needs a value"}"
        shift
        ;;
      *) BUILD=$(realpath "$1") ;;
    esac
    shift
  done
  [ -z "$OUT" ] || "$REPO/scripts/bench/plot.py" --check || exit 1
  bench_wait_idle
}

# bench_cpu_times: "PID TICKS NAME" of all processes, and "total TICKS", "idle TICKS" of the machine, all since their start.
bench_cpu_times() {
  awk '/^cpu / { idle = $5; for (i = 2; i <= 9; ++i) all += $i } END { print "total", all; print "idle", idle }' /proc/stat
  # Some end meanwhile.
  { cat /proc/[0-9]*/stat 2>/dev/null || true; } | sed -nE 's/^([0-9]+) \((.*)\) (.*)$/\1 \3 \2/p' | awk '{ print $1, $13 + $14, $52 }'
}

# bench_idle SECONDS: per cent of all CPUs that are idle for so long, and the three busiest processes.
bench_idle() {
  { bench_cpu_times; sleep "$1"; echo again; bench_cpu_times; } | LC_ALL=C awk '
    /^again/ { second = 1; next }
    !second { before[$1] = $2; next }
    { used[$1] = $2 - before[$1]; name[$1] = $3 }
    END {
      printf "%d", used["idle"] * 100 / used["total"]
      all = used["total"]; delete used["idle"]; delete used["total"]
      for (n = 0; n < 3; ++n) {
        top = ""
        for (pid in used) if (used[pid] > 0 && (top == "" || used[pid] > used[top])) top = pid
        if (top == "") break
        printf "%s %s (pid %s, %d %%)", n ? "," : "", name[top], top, used[top] * 100 / all
        delete used[top]
      }
      print ""
    }'
}

# bench_wait_idle: what an earlier benchmark leaves to be written may take some seconds; other work does not end.
bench_wait_idle() {
  local try busiest
  for try in 1 2 3; do
    read -r BENCH_IDLE_PERCENT busiest < <(bench_idle 1.5)
    [ "$BENCH_IDLE_PERCENT" -lt $BENCH_MIN_IDLE_PERCENT ] || return 0
    [ -z "$FORCE" ] || break
  done
  busiest="the machine is busy: $BENCH_IDLE_PERCENT % of its CPUs are idle, $BENCH_MIN_IDLE_PERCENT % must be; busiest are $busiest"
  [ -n "$FORCE" ] || die "$busiest (--force measures all the same)"
  say "$busiest; going on, as --force says"
}

# bench_doors: $DOORS, or all that work on this machine.
bench_doors() {
  if [ -n "$DOORS" ]; then echo "$DOORS"; else "$BUILD/kmod-tools/dedup-kcheck" --json | jq -r '.doors[] | select(.works) | .name'; fi
}

# bench_cpu PID: seconds of CPU it has used.
bench_cpu() { awk -v hz="$(getconf CLK_TCK)" '{ printf "%.2f", ($14 + $15) / hz }' "/proc/$1/stat"; }

# For jq programs: [numbers] | at(0.95), and rounding.
readonly BENCH_JQ='
  def at($p): sort | if $p == 0.5 then [.[(length - 1) / 2 | floor], .[length / 2 | floor]] | if any(. == null) then null else add / 2 end
    else .[((length - 1) * $p | round)] end;
  def digits($n): . * pow(10; $n) | round / pow(10; $n);'

# bench_compiler: what the build folder was made with.
bench_compiler() {
  local compiler
  compiler=$(sed -n 's/^CMAKE_CXX_COMPILER:[A-Z]*=//p' "$BUILD/CMakeCache.txt" 2>/dev/null)
  [ -z "$compiler" ] || "$compiler" --version | head -n 1
}

# bench_machine: one JSON object: machine, versions, and how quiet it was when the benchmark began.
bench_machine() {
  jq -n --arg cpu "$(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -n 1)" --argjson cpus "$(nproc)" --arg kernel "$(uname -r)" \
    --argjson memory_kb "$(awk '/^MemTotal/ { print $2 }' /proc/meminfo)" --arg load "$(cut -d' ' -f1 /proc/loadavg)" \
    --arg commit "$(git -C "$REPO" describe --always --dirty 2>/dev/null)" --arg time "$(date -u +%FT%TZ)" \
    --arg containerd "$(containerd --version 2>/dev/null | cut -d' ' -f3)" \
    --arg runc "$(runc --version 2>/dev/null | sed -n 's/^runc version //p')" --arg compiler "$(bench_compiler)" \
    --argjson idle "$BENCH_IDLE_PERCENT" --argjson min_idle $BENCH_MIN_IDLE_PERCENT \
    '{time: $time, commit: $commit, cpu: $cpu, cpus: $cpus, memory_mib: ($memory_kb / 1024 | floor), kernel: $kernel,
      containerd: $containerd, runc: $runc, compiler: $compiler, load: ($load | tonumber), idle_percent: $idle,
      forced: ($idle != null and $idle < $min_idle)}'
}

# bench_result ROWS [OBJECT [PLOTS]]: prints ROWS (a JSON array of equal objects) as a table. {benchmark, machine, plots, rows} and
# what OBJECT has are written to $JSON and, with the table as CSV and the pictures (plot.py says what PLOTS may be), to $OUT.
bench_result() {
  local json
  # Not as arguments: those end at 128 KiB.
  json=$(jq -n --arg benchmark "$BENCH" --argjson quick "${QUICK:-0}" --slurpfile machine <(bench_machine) --slurpfile rows <(echo "$1") \
    --slurpfile more <(echo "${2:-{\}}") --slurpfile plots <(echo "${3:-[]}") \
    '{benchmark: $benchmark, quick: ($quick == 1), machine: $machine[0]} + $more[0] +
     {plots: ($plots[0] | if type == "array" then . else [.] end), rows: $rows[0]}')
  [ -z "$JSON" ] || echo "$json" >"$JSON"
  bench_table <<<"$1"
  [ -n "$OUT" ] || return 0
  mkdir -p "$OUT"
  echo "$json" >"$OUT/$BENCH.json"
  jq -r '(.[0] | keys_unsorted), (.[] | [.[]]) | @csv' <<<"$1" >"$OUT/$BENCH.csv"
  "$REPO/scripts/bench/plot.py" "$OUT/$BENCH.json"
}

# bench_table: the JSON array of equal objects on standard input, in columns.
bench_table() {
  jq -r '(.[0] | keys_unsorted), (.[] | [.[] | if . == null or . == "" then "-" else . end]) | @tsv' | column -ts "$(printf '\t')"
}
