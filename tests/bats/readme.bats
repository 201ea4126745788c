#!/usr/bin/env bats
# README.md tells the truth: its commands run (against canned answers), its files exist. A fenced sh block is run when the line
# before it is "<!-- test: run -->"; every sh block must at least be a shell script.

bats_require_minimum_version 1.5.0

readme="$BATS_TEST_DIRNAME/../../README.md"
repository="$BATS_TEST_DIRNAME/../.."

# Prints the sh blocks; with $1 only those marked with it.
sh_blocks() {
  awk -v mark="$1" '
    /^<!-- test: / { marked = $3; next }
    /^```sh$/ { inside = mark == "" || marked == mark; next }
    /^```/ { inside = 0; marked = ""; next }
    inside { print }' "$readme"
}

@test "every sh block is a shell script" {
  [ -n "$(sh_blocks)" ]
  sh_blocks | bash -n
}

@test "blocks marked run do run" {
  folder=$(mktemp -d)
  export DEDUP_SOCKET="$folder/s"
  "$FAKE_DEDUPD" "$DEDUP_SOCKET" >"$folder/said" 3>&- &
  fake_pid=$!
  for _ in $(seq 200); do
    grep -q ready "$folder/said" && break
    sleep 0.05
  done
  commands=$(sh_blocks run)
  [ "$(echo "$commands" | grep -c dedupctl)" -ge 10 ]
  # What they read.
  make_trace=$(cd "$BATS_TEST_DIRNAME" && pwd)/make-trace.py
  cd "$folder"
  echo /bin/sh >files.txt
  for run in run1 run2 run3; do python3 "$make_trace" 20 | zstd -qc >$run; done
  PATH="$(dirname "$DEDUPCTL"):$PATH" run bash -euc -o pipefail "$commands"
  cd /
  kill "$fake_pid" && wait "$fake_pid" || true
  rm -rf "$folder"
  [ "$status" -eq 0 ]
  [[ "$output" == "pulled registry.example/app:1.2"*"no bad chunk found"* ]]
}

@test "every dedupctl command it names exists" {
  names=$(grep -o 'dedupctl [a-z]\+' "$readme" | sort -u | cut -d' ' -f2)
  [ "$(echo "$names" | wc -l)" -ge 8 ]
  for name in $names; do
    run "$DEDUPCTL" "$name" --help
    [ "$status" -eq 0 ]
    [[ "$output" == "NAME"$'\n'"  dedupctl $name - "* ]]
  done
}

@test "every file of the repository it names exists" {
  missing=
  for path in $(grep -oE '\b(scripts|daemon|tests|snapshotter)/[A-Za-z0-9_./-]+\.(sh|md|h|cc)\b' "$readme" | sort -u); do
    [ -e "$repository/$path" ] || missing="$missing $path"
  done
  echo "missing:$missing"
  [ -z "$missing" ]
}
