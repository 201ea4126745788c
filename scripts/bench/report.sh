#!/bin/bash
# Writes the page of the benchmarks from the results of run.sh: what was measured, on what, tables, plots, what lost and why.
#   report.sh [--output FILE] [DIR]
#     --output  the page (docs/benchmarks.md); the plots go into the folder of its name beside it
#     DIR       results (build/bench)
# The words are those of each benchmark's run.sh (head comment) and notes.md.
set -euo pipefail
REPO=$(cd "$(dirname "$0")/../.." && pwd)
. "$REPO/scripts/lib/say.sh"
OUTPUT=$REPO/docs/benchmarks.md DIR=$REPO/build/bench
while [ $# -gt 0 ]; do
  case $1 in
    --output) OUTPUT=${2:?--output needs a file}; shift ;;
    -h | --help) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; exit ;;
    -*) die "unknown option $1" ;;
    *) DIR=$1 ;;
  esac
  shift
done

# names: benchmarks with a result, in the order in which run.sh runs them, then others.
names() {
  local name listed
  listed=$("$REPO/scripts/bench/run.sh" --list)
  for name in $listed; do [ ! -e "$DIR/$name.json" ] || echo "$name"; done
  for name in "$DIR"/*.json; do
    name=$(basename "$name" .json)
    grep -qx "$name" <<<"$listed" || [ "$name" = monitor ] || echo "$name"
  done
}

without_result() {
  local name
  for name in $("$REPO/scripts/bench/run.sh" --list); do [ -e "$DIR/$name.json" ] || echo "$name"; done
}

# about NAME: the head comment without usage and options.
about() { "$REPO/scripts/bench/$1/run.sh" --help | awk '/^  run\.sh/ { usage = 1 } /^[^ ]/ { usage = 0 } !usage'; }

# machine FILE...: of $DIR: one line for each set of machine and versions there is.
machine() {
  cd "$DIR" && jq -rs 'group_by(.machine | del(.time, .load, .idle_percent, .forced)) | .[]
    | (.[0].machine | "\(.cpu), \(.cpus) CPUs, \(.memory_mib) MiB of memory; Linux \(.kernel), containerd \(.containerd // "-"), " +
        "runc \(.runc // "-"), \(.compiler // "-"); commit \(.commit)") as $line
    | "- \(map(.benchmark) | join(", ")): \($line)"' "$@"
}

# setting FILE: when, how quiet, and what the benchmark itself says of link, versions and gaps.
setting() {
  jq -r 'def text: if type == "string" then . else tojson end;
    "- Measured \(.machine.time)" + (if .machine.idle_percent then " on a machine \(.machine.idle_percent) % idle" else "" end)
    + (if .machine.forced then ", **too busy for good numbers**" else "" end)
    + (if .quick then ", **a quick run, whose numbers say little**" else "" end) + ".",
    (to_entries[] | select(.key | IN("benchmark", "quick", "machine", "plots", "rows", "samples") | not)
      | .value |= if type == "object" then with_entries(select(.value != null)) else . end
      | select(.value | IN(null, "", [], {}) | not) | select(.value | tojson | length < 500)
      | "- \(.key): \(.value | if type == "object" then to_entries | map("\(.key) \(.value | text)") | join(", ") else text end).")' "$1"
}

# table FILE: the rows; many of them are folded away.
table() {
  jq -r '.rows as $rows | def cell: if . == null then "" else tostring | gsub("\\|"; "\\|") end;
    (if ($rows | length) > 40 then "<details><summary>\($rows | length) rows</summary>\n" else empty end),
    ($rows[0] | keys_unsorted | "| \(join(" | ")) |", "|\(map("---|") | add)"), ($rows[] | "| \([.[] | cell] | join(" | ")) |"),
    (if ($rows | length) > 40 then "\n</details>" else empty end)' "$1"
}

# pictures NAME: copies the plots, and shows them.
pictures() {
  local number=0 title
  while IFS= read -r title; do
    number=$((number + 1))
    cp "$DIR/$1-$number.svg" "$new/"
    printf '\n![%s](%s/%s-%d.svg)\n' "$title" "$(basename "$plots")" "$1" $number
  done < <(jq -r '.plots[].title' "$DIR/$1.json")
}

section() {
  local folder=$REPO/scripts/bench/$1
  printf '\n## %s\n' "$1"
  [ ! -e "$folder/run.sh" ] || about "$1"
  printf '\n'
  setting "$DIR/$1.json"
  printf '\n'
  table "$DIR/$1.json"
  pictures "$1"
  [ ! -e "$folder/notes.md" ] || { printf '\n' && cat "$folder/notes.md"; }
}

mapfile -t found < <(names)
[ -e "$DIR/${found[0]:-}.json" ] || die "no results in $DIR: run scripts/bench/run.sh first"
[[ $OUTPUT == *.md ]] || die "$OUTPUT: the page's name must end in .md, its plots go beside it"
plots=${OUTPUT%.md}
new=$(mktemp -d "$OUTPUT.XXXXXX")
trap 'rm -rf "$new"' EXIT
{
  cat <<'END'
<!-- Written by scripts/bench/report.sh from the results of scripts/bench/run.sh. Do not edit: words are in scripts/bench/NAME/notes.md. -->
# Benchmarks
Run them yourself, as root, on Debian 12 with nothing else to do (a whole run takes an hour, `--quick` ten minutes and proves only that
all work):

```sh
scripts/bench/run.sh && scripts/bench/report.sh
```

Sides take turns (A B A B) with the same registry and the same link; cold means no image, no content, no snapshot and an empty pool.
p50 is the median, p95 the 95th percentile, of the stated runs. Absolute times belong to this machine; ratios travel better. Latency
and rate of a link are made by a proxy of ours in front of the registry (`tests/bench/slow_link.cc`), which every side goes through.

END
  (machine "${found[@]/%/.json}")
  without_result | sed 's/^/- no result: /'
  for name in "${found[@]}"; do section "$name"; done
} >"$new/page"
mkdir -p "$plots"
rm -f "$plots"/*.svg
find "$new" -name '*.svg' -exec mv -t "$plots" {} +
mv "$new/page" "$OUTPUT"
say "$OUTPUT: $(grep -c '^## ' "$OUTPUT") benchmarks, $(find "$plots" -name '*.svg' | wc -l) plots"
