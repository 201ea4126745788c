# What the benchmarks share: options, percentiles, the machine's description, tables. Needs say.sh.

JSON='' DOORS='' QUICK='' BUILD=$REPO/build/release
# Options of one script: name with dashes -> variable that takes the value.
declare -A BENCH_OPTIONS=()

# bench_options ARG...: --json FILE, --doors "NAME...", --quick, those in BENCH_OPTIONS, and the build folder. --help prints the
# comment at the script's head.
bench_options() {
  while [ $# -gt 0 ]; do
    case $1 in
      --json) JSON=$(realpath -m "${2:?--json needs a file}"); shift ;;
      --doors) DOORS=${2:?--doors needs names}; shift ;;
      --quick) QUICK=1 ;;
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
}

# bench_doors: $DOORS, or all that work on this machine.
bench_doors() {
  if [ -n "$DOORS" ]; then echo "$DOORS"; else "$BUILD/kmod-tools/dedup-kcheck" --json | jq -r '.doors[] | select(.works) | .name'; fi
}

# bench_cpu PID: seconds of CPU it has used.
bench_cpu() { awk -v hz="$(getconf CLK_TCK)" '{ printf "%.2f", ($14 + $15) / hz }' "/proc/$1/stat"; }

# For jq programs: [numbers] | at(0.95), and rounding.
readonly BENCH_JQ='
  def at($p): sort | .[((length - 1) * $p | round)];
  def digits($n): . * pow(10; $n) | round / pow(10; $n);'

# bench_machine: one JSON object.
bench_machine() {
  jq -n --arg cpu "$(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -n 1)" --argjson cpus "$(nproc)" --arg kernel "$(uname -r)" \
    --argjson memory_kb "$(awk '/^MemTotal/ { print $2 }' /proc/meminfo)" --arg load "$(cut -d' ' -f1 /proc/loadavg)" \
    --arg commit "$(git -C "$REPO" describe --always --dirty 2>/dev/null)" --arg time "$(date -u +%FT%TZ)" \
    '{time: $time, commit: $commit, cpu: $cpu, cpus: $cpus, memory_mib: ($memory_kb / 1024 | floor), kernel: $kernel,
      load: ($load | tonumber)}'
}

# bench_result ROWS [OBJECT]: prints ROWS (a JSON array of equal objects) as a table, and writes {machine, rows} and what OBJECT
# has to $JSON.
bench_result() {
  [ -z "$JSON" ] || jq -n --argjson machine "$(bench_machine)" --argjson rows "$1" --argjson more "${2:-{\}}" \
    '{machine: $machine} + $more + {rows: $rows}' >"$JSON"
  jq -r '(.[0] | keys_unsorted), (.[] | [.[] | . // "-"]) | @tsv' <<<"$1" | column -ts "$(printf '\t')"
}
