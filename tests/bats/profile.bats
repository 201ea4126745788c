#!/usr/bin/env bats
# dedupctl profile: files only, no dedupd. DEDUPCTL names the program (ctest sets it).

bats_require_minimum_version 1.5.0

setup() {
  cd "$BATS_TEST_TMPDIR"
  export DEDUP_SOCKET=$BATS_TEST_TMPDIR/nobody
  a=sha256:$(printf 'a%.0s' {1..64})
  b=sha256:$(printf 'b%.0s' {1..64})
}

# A start that touched /slow at $1 us, /fast at $2 us and /once$3.
start() {
  printf '{"dedup_profile":1,"source":"touches","runs":1,"layers":["%s"],"entries":3}\n' "$a"
  {
    printf '{"layer":0,"path":"/slow","offset":0,"length":65536,"us":%d,"runs":1}\n' "$1"
    printf '{"layer":0,"path":"/fast","offset":65536,"length":100,"us":%d,"runs":1}\n' "$2"
    printf '{"layer":0,"path":"/once%s","offset":0,"length":1,"us":7000,"runs":1}\n' "$3"
  } | sort -t: -k6 -n
}

@test "import, show: each kind of list" {
  printf '# start\n/bin/sh\nusr/lib/x\n' >paths
  printf '{"path":"usr/bin/python3","manifestDigest":"%s","layerIndex":1}\n' "$a" >stargz
  printf '["/app/config.json"]\n' >soci
  run --separate-stderr "$DEDUPCTL" profile import paths --output paths.profile
  [ "$status" -eq 0 ]
  [ -z "$stderr" ]
  [ "$output" = "paths.profile: 2 ranges, 1 run, source list" ]
  [ "$("$DEDUPCTL" profile show paths.profile --json | jq -c '[.entries[].path]')" = '["/bin/sh","/usr/lib/x"]' ]
  "$DEDUPCTL" profile import stargz --layer "$a" --layer "$b" --output stargz.profile
  [ "$("$DEDUPCTL" profile show stargz.profile --json | jq -r '.entries[0].layer')" = "$b" ]
  "$DEDUPCTL" profile import soci --from soci --output soci.profile
  run "$DEDUPCTL" profile show soci.profile
  [[ "$output" == *"all"*"/app/config.json"* ]]
  # One zstd frame of JSON lines, as documented.
  [ "$(zstd -qdc <paths.profile | jq -s '.[0].entries')" = 2 ]
}

@test "build puts starts in the order of their medians and drops what one of three touched" {
  start 3000 1000 1 | zstd -qc >1
  start 2000 9000 2 | zstd -qc >2
  start 5000 1500 3 | zstd -qc >3
  run --separate-stderr "$DEDUPCTL" profile build 1 2 3 --output app.profile --json
  [ "$status" -eq 0 ]
  [ "$(jq -c '[.runs, .ranges, .bytes]' <<<"$output")" = '[3,2,65636]' ]
  [ "$("$DEDUPCTL" profile show app.profile --json | jq -c '[.entries[] | [.path, .us, .runs]]')" = \
    '[["/fast",1500,3],["/slow",3000,3]]' ]
  run "$DEDUPCTL" profile show app.profile
  [ "${lines[0]}" = "2 ranges, 64.1 KiB, 3 runs, source touches" ]
  [[ "${lines[2]}" == *"1.500"*"64KiB"*"100B"*"3"*"aaaaaaaaaaaa"*"/fast"* ]]
  "$DEDUPCTL" profile build 1 2 3 --min-percent 0 --output all.profile
  [ "$("$DEDUPCTL" profile show all.profile --json | jq .ranges)" = 5 ]
}

# trace FILES [--plain]: writes "trace" as one start of a made-up service could leave it.
trace() {
  python3 "$BATS_TEST_DIRNAME/make-trace.py" "$@" | zstd -qcf >trace
}

@test "show: of a trace, who fetched what, and whether it was in time" {
  trace 300
  run --separate-stderr "$DEDUPCTL" profile show trace
  [ "$status" -eq 0 ]
  [ "${lines[3]}" = "container web-7d4b9c6f5-x2x8k" ]
  [[ "${lines[4]}" == *"started at 180.000 ms" ]]
  "$DEDUPCTL" profile show trace --json >object
  # A line for each touch, one for each fetch in vain, and two of what the words mean.
  in_vain=$(jq '[.entries[].path] as $touched | [.fetches[] | select(.by == "prefetch" and ([.path] | inside($touched) | not))] | length' object)
  [ "$in_vain" -gt 0 ]
  [ "$(grep -c 'prefetch .* in vain ' <<<"$output")" = "$in_vain" ]
  [ "${#lines[@]}" = $((14 + $(jq .ranges object) + in_vain)) ]
  # The same numbers from the records alone.
  for by in reader prefetch background; do
    [ "$(jq -c --arg by $by '.trace.fetched[$by] | [.ranges, .bytes]' object)" = \
      "$(jq -c --arg by $by '[.fetches[] | select(.by == $by)] | [length, (map(.length) | add)]' object)" ]
  done
  [ "$(jq .trace.wait_us object)" = "$(jq '[.fetches[].wait_us] | add' object)" ]
  [ "$(jq .trace.touched.miss object)" = "$(jq '[.entries[] | select(.how == "miss")] | length' object)" ]
  [ "$(jq .trace.touched.miss object)" = 7 ]
  [[ "$output" == *"7 misses, 2.2 % of the touched ranges"* ]]
}

@test "what an image calls its files cannot drive the terminal" {
  printf '["/a\\u001b[2Jb"]' >list
  "$DEDUPCTL" profile import list --output list.profile
  run "$DEDUPCTL" profile show list.profile
  [ "$status" -eq 0 ]
  [[ "$output" != *$'\033'* ]]
}

@test "a bad file is exit 1 and names it; nothing is written" {
  printf 'no profile' >bad
  start 1 2 3 >uncompressed
  printf '/a\n/../b\n' >list
  printf '{"version":"1.0","prefetch_spans":[{"start_span":1,"end_span":2}]}' >artifact
  for arguments in "show bad" "show absent" "show uncompressed" "build bad --output out" "import list --output out" \
    "import absent --output out" "import artifact --output out" "import bad --layer x --output out"; do
    # shellcheck disable=SC2086  # words
    run --separate-stderr "$DEDUPCTL" profile $arguments
    [ "$status" -eq 1 ]
    [ -z "$output" ]
    [ "${#stderr_lines[@]}" -eq 1 ]
  done
  [ ! -e out ]
  run --separate-stderr "$DEDUPCTL" profile import list --output out
  [[ "$stderr" == "dedupctl: list: line 2: "* ]]
  run --separate-stderr "$DEDUPCTL" --json profile show bad
  [ "$(jq -r .error.code <<<"$output")" = corruption ]
}

@test "wrong usage is exit 2" {
  for arguments in "" "show" "import list" "build --output x" "import list --from tar --output x" \
    "build 1 --min-percent 101 --output x"; do
    # shellcheck disable=SC2086  # words
    run --separate-stderr "$DEDUPCTL" profile $arguments
    [ "$status" -eq 2 ]
    [ -z "$output" ]
  done
}
